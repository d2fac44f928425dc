"""Our tree -> state dicts for the PyTorch originals: the rules of rules.py backwards."""

from collections.abc import Mapping

import numpy as np

from aqa_jax.errors import WeightsError
from aqa_jax.weights.rules import TORCH_ADAPTER, TORCH_NORM, TORCH_STYLES, TorchStyle


def to_torch(flat: Mapping[str, np.ndarray], style: str, part: str = "i3d") -> dict[str, np.ndarray]:
    """Name and turn the leaves of one part of our tree as the originals' module has them.

    Args:
      flat: our leaves by path.
      style: "hassony2" or "piergiaj" (see rules.py); the head's names are the same in both.
      part: "i3d", with the classifier and PECoP's 3D-Adapters if there are any, or "head". A low-rank update is added
        to the kernel that it updates.

    Returns:
      float32 arrays [O, I, t, h, w], [O, I] or [C] for `load_state_dict`, which adds batch norm's counters by
      itself.

    Raises:
      WeightsError: unknown style, nothing of that part in the tree, or adapters that no original has (depthwise ones).
    """
    if style not in TORCH_STYLES:
        raise WeightsError(f"no PyTorch original has the key style {style!r}; known: {', '.join(TORCH_STYLES)}")
    state = {}
    for path, value in flat.items():
        if path.startswith(part + "/") and "/low_rank/" not in path:
            kernel = value
            if path.endswith("/kernel"):
                kernel = np.moveaxis(_updated(flat, path), (-1, -2), (0, 1))
            elif path.endswith("/adapter/scale"):
                kernel = np.reshape(value, (1, -1, 1, 1, 1))
            state[_torch_key(path, TORCH_STYLES[style])] = np.ascontiguousarray(kernel, np.float32)
    if not state:
        raise WeightsError(f"the tree has no leaf below {part}/")
    return state


def _updated(flat: Mapping[str, np.ndarray], path: str) -> np.ndarray:
    """The kernel at ``path``, with its low-rank update if it has one."""
    unit = path.removesuffix("kernel") + "low_rank/"
    if unit + "down" not in flat:
        return np.asarray(flat[path])
    return flat[path] + np.einsum("thwcr,ro->thwco", flat[unit + "down"], flat[unit + "up"])


def _torch_key(path: str, style: TorchStyle) -> str:
    part, *unit, leaf = path.split("/")
    weight = "weight" if leaf == "kernel" else leaf
    if part != "i3d":
        return ".".join([*unit, weight])
    if unit == ["logits"]:
        return f"{style.logits}.conv3d.{weight}"
    if len(unit) > 1 and unit[1] == "adapter":
        ours = path.partition("/adapter/")[2]
        if ours not in TORCH_ADAPTER:
            raise WeightsError(f"{path}: PECoP's 3D-Adapters have no such part (they are not depthwise)")
        return f"{unit[0] if style.capital else unit[0].lower()}.tuning_module.{TORCH_ADAPTER[ours]}"
    *unit, layer = unit
    block = unit[0] if style.capital else unit[0].lower()
    name = ".".join([block, *(style.branches[branch] for branch in unit[1:])])
    return f"{name}.conv3d.weight" if layer == "conv" else f"{name}.{style.norm}.{TORCH_NORM[leaf]}"
