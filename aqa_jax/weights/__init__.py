"""Foreign and own weight files -> our parameter tree, and back.

source, style = load_source("rgb_imagenet.pt")
values, report = convert(source, {"i3d/Conv3d_1a_7x7/conv/kernel": (7, 7, 7, 3, 64), ...}, style)
print(report.table())
write_safetensors("backbone.safetensors", values, provenance("rgb_imagenet.pt"))
"""

from aqa_jax.weights.adapter_file import AdapterFile, read_adapter
from aqa_jax.weights.convert import Report, convert
from aqa_jax.weights.describe import describe
from aqa_jax.weights.export import to_torch
from aqa_jax.weights.known import Known, identify
from aqa_jax.weights.safetensors_io import read_safetensors, write_safetensors
from aqa_jax.weights.source import load_source, provenance

__all__ = [
    "AdapterFile",
    "Known",
    "Report",
    "convert",
    "describe",
    "identify",
    "load_source",
    "provenance",
    "read_adapter",
    "read_safetensors",
    "to_torch",
    "write_safetensors",
]
