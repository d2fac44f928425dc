"""The rule by which anyone rebuilds the weights and inputs behind the golden numbers."""

import zlib

import numpy as np

MIXED_BRANCHES = {
    "b0": "branch_0", "b1a": "branch_1.0", "b1b": "branch_1.1", "b2a": "branch_2.0", "b2b": "branch_2.1",
    "b3b": "branch_3.1",
}  # fmt: skip
ADAPTER = {
    "down/kernel": "conv1.weight", "down/bias": "conv1.bias", "up/kernel": "conv2.weight", "up/bias": "conv2.bias",
    "scale": "se",
}  # fmt: skip


def _rng(text: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(("aqa/" + text).encode()))


def parameter(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array of state-dict key ``key``, in torch's shape."""
    rng = _rng(key)
    if key.endswith(".weight") and len(shape) > 1:
        value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif (key.endswith(".weight") and len(shape) == 1) or key.endswith((".running_var", ".se")):
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.standard_normal(shape) * 0.1
    return value.astype(np.float32)


def array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 input called ``name``."""
    return _rng(name).standard_normal(shape).astype(np.float32)


def original_key(path: str, style: str) -> str:
    """The originals' state-dict key of our ``path`` below ``i3d/``, in the ``hassony2`` or ``piergiaj`` style."""
    block, adapter, rest = path.partition("/adapter/")
    if adapter:
        return f"{block.lower()}.tuning_module.{ADAPTER[rest]}"
    *unit, group, leaf = path.split("/")
    if unit == [] and group == "logits":
        unit, group = ["logits"], "conv"
        leaf = {"kernel": "kernel", "bias": "bias"}[leaf]
        name = "conv3d_0c_1x1" if style == "hassony2" else "logits"
    elif style == "hassony2":
        name = ".".join([unit[0].lower(), *(MIXED_BRANCHES[b] for b in unit[1:])])
    else:
        name = ".".join(unit)
    layer = {"conv": "conv3d", "bn": "batch3d" if style == "hassony2" else "bn"}[group]
    leaf = {
        "kernel": "weight",
        "scale": "weight",
        "bias": "bias",
        "mean": "running_mean",
        "var": "running_var",
    }[leaf]
    return f"{name}.{layer}.{leaf}"


def from_torch(value: np.ndarray) -> np.ndarray:
    """A torch kernel in our layout: [O, I, t, h, w] -> [t, h, w, I, O], [O, I] -> [I, O]."""
    if value.ndim == 5:
        return value.transpose(2, 3, 4, 1, 0)
    return value.T if value.ndim == 2 else value


def to_torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The torch shape of our ``shape``."""
    if len(shape) == 5:
        return (shape[4], shape[3], *shape[:3])
    return shape[::-1] if len(shape) == 2 else shape


def rebuilt(path: str, shape: tuple[int, ...], style: str) -> np.ndarray:
    """Our leaf ``path`` (below ``i3d/``) of ``shape``, filled by the rule."""
    return from_torch(parameter(original_key(path, style), to_torch_shape(shape)))
