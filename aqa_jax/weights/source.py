"""Open any known weight file: torch, TensorFlow or safetensors, told apart by content and not by name."""

import os
from pathlib import Path

import numpy as np

from aqa_jax.errors import WeightsError
from aqa_jax.weights.known import identify, sha256, weight_file
from aqa_jax.weights.rules import detect_style
from aqa_jax.weights.safetensors_io import read_safetensors
from aqa_jax.weights.sniff import sniff
from aqa_jax.weights.tf_checkpoint import prefix_of, read_checkpoint
from aqa_jax.weights.torch_file import read_torch


def load_source(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], str]:
    """Read every tensor of a weight file.

    Args:
      path: a torch file (.pt, .pth), a safetensors file, or a TensorFlow checkpoint (its prefix, index, data
        file or folder).

    Returns:
      The tensors by their key in the file (nested parts joined with "/"), and the key style (see rules.py).

    Raises:
      WeightsError: the file is missing, damaged, of another kind (named), or holds no I3D.
    """
    name = os.fspath(path)
    arrays = _read(path, name)
    try:
        return arrays, detect_style(arrays)
    except WeightsError as error:
        raise WeightsError(f"{name}: {error}") from error


def provenance(path: str | os.PathLike[str]) -> dict[str, str]:
    """Where weights came from, as text for a file's metadata: file name, SHA-256, published name if known."""
    file = weight_file(path)
    known = identify(path)
    return {
        "source": file.name,
        "source_sha256": sha256(file),
        "source_published_as": known.name if known else "",
    }


def _read(path: str | os.PathLike[str], name: str) -> dict[str, np.ndarray]:
    if prefix_of(path) is not None:
        return read_checkpoint(path)
    if Path(path).is_dir():
        raise WeightsError(f"{name}: a folder without a TensorFlow checkpoint; give the weight file itself")
    try:
        kind = sniff(path)
    except OSError as error:
        raise WeightsError(f"{name}: cannot be read ({error.strerror or error})") from error
    if kind in ("zip", "torch legacy"):
        return read_torch(path)
    if kind == "safetensors":
        return read_safetensors(path)[0]
    if ".data-" in Path(path).name:
        raise WeightsError(f"{name}: a TensorFlow data file, but its .index is not beside it; fetch it too")
    raise WeightsError(
        f"{name}: {kind}, not a weight file; known are torch's .pt and .pth, TensorFlow checkpoints (.index "
        "with .data-*) and safetensors"
    )
