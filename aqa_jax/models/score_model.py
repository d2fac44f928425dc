"""Backbone and head in one module: from uint8 clips to a head's outputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.models.i3d import I3D, BNMode

NORMALISATIONS = {
    # mean and standard deviation of RGB on [0, 1]
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "minus_one_to_one": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""What ``config.data.normalisation`` names."""

EARLY = "Mixed_3b"
"""The layer that tells how a video looks, before the network keeps what matters for its task."""


def features_by_chunk(i3d: I3D, frames: Callable[[jax.Array], jax.Array], clips: jax.Array, chunk: int) -> jax.Array:
    """``i3d`` over a few clips at a time, with the gradient of all at once: for small memories.

    The forward pass keeps the features alone. The backward pass takes chunk after chunk: its features again, their
    vector-Jacobian product, and the sum of the gradients. Exact where a clip's features depend on that clip alone,
    which batch statistics would break.

    Args:
      i3d: the backbone; its batch normalisation is frozen.
      frames: [chunk, T, H, W, 3] as stored -> normalised.
      clips: [N, T, H, W, 3] as stored; N is a multiple of ``chunk``.
      chunk: clips at a time.

    Returns:
      [N, T', C] float32.
    """
    parts = clips.reshape(-1, chunk, *clips.shape[1:])
    features = jax.lax.map(jax.checkpoint(lambda part: i3d(frames(part), "frozen")), parts)
    return features.reshape(-1, *features.shape[2:])


def normalise(video: jax.Array, kind: str, dtype: jnp.dtype) -> jax.Array:
    """uint8 RGB [..., 3] -> normalised values of ``dtype``."""
    mean, std = (jnp.array(values).reshape((1,) * (video.ndim - 1) + (3,)) for values in NORMALISATIONS[kind])
    return ((video.astype(jnp.float32) / 255 - mean) / std).astype(dtype)


class ClipModel(nnx.Module):
    """I3D per clip, the mean of the clips' features, then a head (DAE-AQA's ``train.py``)."""

    def __init__(self, i3d: I3D, head: Any, normalisation: str, dtype: jnp.dtype):
        """Joins ``i3d`` and ``head``."""
        self.i3d = i3d
        self.head = head
        self.normalisation = normalisation
        self.dtype = dtype

    def clip_features(self, video: jax.Array, mode: BNMode, chunk: int = 0) -> jax.Array:
        """uint8 [B, S, T, H, W, 3] -> features per clip [B, S, C] float32 (mean over a clip's temporal positions).

        With ``chunk``, that many clips at a time (:func:`features_by_chunk`).
        """
        batch, clips = video.shape[:2]
        stored = video.reshape(batch * clips, *video.shape[2:])
        if chunk:
            assert mode == "frozen", "batch statistics need all clips at once"
            features = features_by_chunk(self.i3d, self._frames, stored, chunk)
        else:
            features = self.i3d(self._frames(stored), mode)
        return features.mean(1).reshape(batch, clips, -1)

    def _frames(self, stored: jax.Array) -> jax.Array:
        return normalise(stored, self.normalisation, self.dtype)

    def features(self, video: jax.Array, mode: BNMode = "frozen", chunk: int = 0) -> jax.Array:
        """uint8 [B, S, T, H, W, 3] -> the mean of the clips' features [B, C] float32; ``chunk`` clips at a time."""
        return self.clip_features(video, mode, chunk).mean(1)

    def described(self, video: jax.Array) -> tuple[jax.Array, jax.Array]:
        """uint8 [B, S, T, H, W, 3] -> :meth:`features` [B, C], and channel means of :data:`EARLY` [B, E] float32."""
        batch, clips = video.shape[:2]
        frames = normalise(video, self.normalisation, self.dtype).reshape(batch * clips, *video.shape[2:])
        early = last = frames
        for name, last in self.i3d.endpoints(frames):
            if name == EARLY:
                early = last.astype(jnp.float32).mean((1, 2, 3))
        features = self.i3d.pool(last).mean(1)
        return features.reshape(batch, clips, -1).mean(1), early.reshape(batch, clips, -1).mean(1)

    def __call__(self, video: jax.Array, mode: BNMode = "frozen", chunk: int = 0) -> dict[str, jax.Array]:
        """uint8 [B, S, T, H, W, 3] -> the head's outputs; ``chunk`` clips through the backbone at a time, 0: all."""
        return self.head(self.features(video, mode, chunk))
