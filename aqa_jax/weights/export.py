"""Our tree -> state dicts for the PyTorch originals: the rules of rules.py backwards."""

from collections.abc import Mapping

import numpy as np

from aqa_jax.errors import WeightsError
from aqa_jax.weights.rules import TORCH_NORM, TORCH_STYLES, TorchStyle


def to_torch(flat: Mapping[str, np.ndarray], style: str, part: str = "i3d") -> dict[str, np.ndarray]:
    """Name and turn the leaves of one part of our tree as the originals' module has them.

    Args:
      flat: our leaves by path.
      style: "hassony2" or "piergiaj" (see rules.py); the head's names are the same in both.
      part: "i3d", with the classifier if there is one, or "head".

    Returns:
      float32 arrays [O, I, t, h, w], [O, I] or [C] for `load_state_dict`, which adds batch norm's counters by
      itself.

    Raises:
      WeightsError: unknown style, or nothing of that part in the tree.
    """
    if style not in TORCH_STYLES:
        raise WeightsError(f"no PyTorch original has the key style {style!r}; known: {', '.join(TORCH_STYLES)}")
    state = {}
    for path, value in flat.items():
        if path.startswith(part + "/"):
            kernel = np.moveaxis(np.asarray(value), (-1, -2), (0, 1)) if path.endswith("/kernel") else value
            state[_torch_key(path, TORCH_STYLES[style])] = np.ascontiguousarray(kernel, np.float32)
    if not state:
        raise WeightsError(f"the tree has no leaf below {part}/")
    return state


def _torch_key(path: str, style: TorchStyle) -> str:
    part, *unit, leaf = path.split("/")
    weight = "weight" if leaf == "kernel" else leaf
    if part != "i3d":
        return ".".join([*unit, weight])
    if unit == ["logits"]:
        return f"{style.logits}.conv3d.{weight}"
    *unit, layer = unit
    block = unit[0] if style.capital else unit[0].lower()
    name = ".".join([block, *(style.branches[branch] for branch in unit[1:])])
    return f"{name}.conv3d.weight" if layer == "conv" else f"{name}.{style.norm}.{TORCH_NORM[leaf]}"
