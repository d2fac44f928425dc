"""What a weight file is, in words."""

import os

from aqa_jax.weights.adapter_file import SCHEMA, read_adapter
from aqa_jax.weights.known import identify, sha256, weight_file
from aqa_jax.weights.safetensors_io import read_safetensors
from aqa_jax.weights.sniff import sniff
from aqa_jax.weights.source import load_source
from aqa_jax.weights.tf_checkpoint import prefix_of


def describe(path: str | os.PathLike[str]) -> str:
    """Kind, counts, fingerprint and metadata of an adapter file or of any weight file, a line each.

    Raises:
      WeightsError: the file is missing, damaged, or of another kind (named).
    """
    metadata = {}
    if prefix_of(path) is None and os.path.isfile(path) and sniff(path) == "safetensors":
        metadata = read_safetensors(path)[1]
        if metadata.get("schema") == SCHEMA:
            return f"{path}: {read_adapter(path).describe()}"
    arrays, style = load_source(path)
    adapters = [a for key, a in arrays.items() if any(s in key for s in ("tuning_module", "/adapter/", "/low_rank/"))]
    known = identify(path)
    rows = {
        "arrays": f"{len(arrays):,}",
        "numbers": f"{sum(a.size for a in arrays.values()):,}",
        "of adapters": f"{sum(a.size for a in adapters):,}",
        "bytes": f"{sum(a.nbytes for a in arrays.values()):,}",
        "sha256": sha256(weight_file(path)),
        **metadata,
    }
    first = [f"{path}: a weight file, {style} keys", *([f"  {known.describe()}"] if known else [])]
    return "\n".join([*first, *(f"  {name:<22}{value}" for name, value in rows.items())])
