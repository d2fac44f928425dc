"""Grad-CAM in three dimensions, of a score.

Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) weighs a layer's channels by the mean gradient of the output with
respect to them. Here it is a score that is to be *lowered* (their counterfactual explanations): the map shows what
pulls it down.
"""

from functools import partial
from typing import Any, cast

import jax
import numpy as np
from flax import nnx

from aqa_jax.models.i3d import ENDPOINTS
from aqa_jax.models.score_model import ClipModel, normalise

_STRIDES = {"Mixed_5": 32, "Mixed_4": 16, "Mixed_3": 8}


def layer_of(side: int, last: str = "Mixed_5c") -> str:
    """The last Inception module before a change of stride whose maps of frames of ``side`` pixels are 2x2 or larger.

    That is ``last``, the backbone's, as is usual, from 64 pixels on (7x7 at 224); to it a frame of 32 pixels is one
    position, and no map. Finer maps are of earlier layers, which know less (docs/why.md).
    """
    candidates = [last, *(one for one in ("Mixed_4f", "Mixed_3c") if one in ENDPOINTS[: ENDPOINTS.index(last)])]
    return next((layer for layer in candidates if side >= 2 * _STRIDES[layer[:-1]]), candidates[-1])


@partial(jax.jit, static_argnums=(0, 4))
def weighed_maps(
    graph: Any, state: Any, clip: jax.Array, gradient: jax.Array, layer: str
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One clip's activations, weighed by what they do to the score.

    Args:
      graph: of the backbone, a :class:`ClipModel`.
      state: its arrays.
      clip: uint8 [T, H, W, 3].
      gradient: of the score with respect to the clip's feature, float32 [C].
      layer: one of ``aqa_jax.models.i3d.ENDPOINTS``.

    Returns:
      float32: activations times channel weights, summed over the channels [T', h, w]; the weights [K]; the channels'
      mean activations [K].
    """
    model = cast(ClipModel, nnx.merge(graph, state))
    frames = normalise(clip[None], model.normalisation, model.dtype)
    maps = next(maps for name, maps in model.i3d.endpoints(frames) if name == layer)

    def score(maps: jax.Array) -> jax.Array:
        *_, last = [maps, *(found for _, found in model.i3d.endpoints(maps, after=layer))]
        return (model.i3d.pool(last).mean(1)[0] * gradient).sum()

    weights = jax.grad(score)(maps)[0].astype("float32").mean((0, 1, 2))
    activations = maps[0].astype("float32")
    weighed = (activations * weights.reshape(1, 1, 1, -1)).sum(-1)
    return weighed, weights, activations.mean((0, 1, 2))


def lowering(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], clip_length: int) -> np.ndarray:
    """Where a video's score is lowered, from :func:`weighed_maps` of its S clips: float32 [S, T, h, w] in [0, 1].

    What counts is the difference to the video's mean activations: against 0, an activation that every place has would
    hide what is peculiar to one. Positions in time are spread linearly over the clip's frames.
    """
    mean = np.mean([activation for _, _, activation in parts], 0)
    maps = np.stack([np.maximum(weights @ mean - weighed, 0) for weighed, weights, _ in parts])
    steps = maps.shape[1]
    at = np.clip((np.arange(clip_length) + 0.5) * steps / clip_length - 0.5, 0, steps - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, steps - 1)
    part = (at - low).reshape(1, -1, 1, 1)
    spread = (1 - part) * maps[:, low] + part * maps[:, high]
    return (spread / max(spread.max(), np.finfo(np.float32).tiny)).astype(np.float32)
