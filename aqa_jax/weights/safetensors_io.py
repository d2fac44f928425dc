"""Our own weight files: safetensors with flat keys ("i3d/Mixed_3b/b1a/conv/kernel") and metadata."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from aqa_jax.errors import WeightsError
from aqa_jax.files import replacing
from aqa_jax.weights.sniff import check_size

MAX_HEADER_BYTES = 16 * 2**20


def write_safetensors(
    path: str | os.PathLike[str], flat: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays and text metadata; the file (and its folder) appears whole or not at all.

    Raises:
      WeightsError: an array's type has no place in the format, or the folder cannot be written.
    """
    path = Path(path)
    # The library writes the memory as it lies: a transposed view would come back scrambled.
    arrays = {key: np.asarray(value, order="C") for key, value in flat.items()}
    for key, value in arrays.items():
        if value.dtype.kind not in "biuf":
            raise WeightsError(f"{path}: {key} is of {value.dtype}, which safetensors cannot hold")
    data = safetensors.numpy.save(arrays, metadata={k: str(v) for k, v in (metadata or {}).items()})
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror or error})") from error


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read arrays and metadata.

    Raises:
      WeightsError: the file is missing, damaged, or of a type that numpy does not have (bfloat16, float8).
    """
    name = os.fspath(path)
    try:
        check_size(path)
        with open(path, "rb") as raw:
            if int.from_bytes(raw.read(8), "little") > MAX_HEADER_BYTES:
                raise WeightsError(
                    f"{name}: not a readable safetensors file (a header of more than {MAX_HEADER_BYTES} bytes)"
                )
        with safetensors.safe_open(name, framework="np") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (safetensors.SafetensorError, OSError, TypeError, AttributeError) as error:
        raise WeightsError(f"{name}: not a readable safetensors file ({error})") from error
    for key, value in arrays.items():
        # bfloat16 and float8 appear as numpy types once another library has registered them.
        if value.dtype.kind not in "biuf":
            raise WeightsError(f"{name}: {key} is of {value.dtype}; save the file again in float32")
    return arrays, metadata
