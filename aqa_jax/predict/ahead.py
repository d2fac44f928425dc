"""Files read as clips: each when it is its turn, the first ones already while jax is loaded and the model restored."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqa_jax.data import checksums
from aqa_jax.predict.facts import Facts, read_facts
from aqa_jax.predict.input_format import InputFormat
from aqa_jax.predict.inputs import Inputs, check_file
from aqa_jax.predict.sandbox import MEGABYTES, SECONDS, Sandbox
from aqa_jax.predict.video_clips import VideoClips, read_clips

_FILES = 4
"""So many are begun: 24 MB each at the papers' size."""


@dataclass(frozen=True)
class Identity:
    """What a file's bytes are.

    Attributes:
      sha256: of them.
      checksum: whether a recorded checksum vouches for them, as :func:`aqa_jax.data.checksums.compare` has it.
    """

    sha256: str
    checksum: str


@dataclass(frozen=True)
class Content:
    """A file that has been read."""

    identity: Identity
    clips: VideoClips
    facts: Facts


def identify(path: Path, folder: Path | None, recorded: checksums.Checksums) -> Identity:
    """Reads the bytes once.

    Args:
      path: the file.
      folder: up to which recorded checksums count.
      recorded: the checksums found so far.

    Raises:
      DataError: it is no ordinary file.
      ChecksumError: it is not what was recorded.
    """
    check_file(path)
    expected = recorded.of(path, folder)
    sha256 = checksums.digest(path)
    return Identity(sha256, checksums.compare(path, sha256, expected))


def read(path: Path, identity: Identity, form: InputFormat, sandbox: Sandbox) -> Content:
    """Decodes in the sandbox.

    Raises:
      DecodeError or DataError: it is no video that can be scored.
    """
    clips = read_clips(path, form.window, form.frame_size, form.crop_size, sandbox=sandbox)
    return Content(identity, clips, read_facts(path, sandbox))


class Ahead:
    """Reads the first files one after the other in the background. A context manager."""

    def __init__(self, inputs: Inputs, form: InputFormat, *, seconds: float = SECONDS, megabytes: int = MEGABYTES):
        """Takes the same files and limits as :func:`aqa_jax.predict.predict.predict`.

        Args:
          inputs: the files.
          form: what the model will take.
          seconds: in which a file must be decoded.
          megabytes: that decoding one may take.
        """
        self.form, self.sandbox = form, Sandbox(seconds, megabytes)
        self._first: Sequence[Path] = inputs.videos[:_FILES]
        self._folders = inputs.folders
        self._pool = ThreadPoolExecutor(1, "ahead")
        self._begun: dict[Path, Future[Content]] = {}

    def __enter__(self) -> "Ahead":
        recorded = checksums.Checksums()

        def content(path: Path) -> Content:
            identity = identify(path, self._folders.get(path), recorded)
            return read(path, identity, self.form, self.sandbox)

        self._begun = {path: self._pool.submit(content, path) for path in self._first}
        return self

    def __exit__(self, *error: Any) -> None:
        self.sandbox.__exit__()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def take(self, path: Path, form: InputFormat) -> Content | None:
        """The content of a file, waited for; None where it has not been begun, or was read for another ``form``.

        Raises:
          AqaError or OSError: what :func:`identify` and :func:`read` raise.
        """
        begun = self._begun.pop(path, None)
        if begun is None or begun.cancel() or form != self.form:
            return None
        return begun.result()
