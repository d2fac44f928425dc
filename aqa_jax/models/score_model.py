"""Backbone and head in one module: from uint8 clips to a head's outputs."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.models.i3d import I3D, BNMode

_NORMALISATIONS = {
    # mean and standard deviation of RGB on [0, 1]
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "minus_one_to_one": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}

EARLY = "Mixed_3b"
"""The layer that tells how a video looks, before the network keeps what matters for its task."""


def normalise(video: jax.Array, kind: str, dtype: jnp.dtype) -> jax.Array:
    """uint8 RGB [..., 3] -> normalised values of ``dtype``."""
    mean, std = (jnp.array(values).reshape((1,) * (video.ndim - 1) + (3,)) for values in _NORMALISATIONS[kind])
    return ((video.astype(jnp.float32) / 255 - mean) / std).astype(dtype)


class ClipModel(nnx.Module):
    """I3D per clip, the mean of the clips' features, then a head (DAE-AQA's ``train.py``)."""

    def __init__(self, i3d: I3D, head: Any, normalisation: str, dtype: jnp.dtype):
        """Joins ``i3d`` and ``head``."""
        self.i3d = i3d
        self.head = head
        self.normalisation = normalisation
        self.dtype = dtype

    def clip_features(self, video: jax.Array, mode: BNMode) -> jax.Array:
        """uint8 [B, S, T, H, W, 3] -> features per clip [B, S, C] float32 (mean over a clip's temporal positions)."""
        batch, clips = video.shape[:2]
        frames = normalise(video, self.normalisation, self.dtype).reshape(batch * clips, *video.shape[2:])
        return self.i3d(frames, mode).mean(1).reshape(batch, clips, -1)

    def features(self, video: jax.Array, mode: BNMode = "frozen") -> jax.Array:
        """uint8 [B, S, T, H, W, 3] -> the mean of the clips' features [B, C] float32."""
        return self.clip_features(video, mode).mean(1)

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

    def __call__(self, video: jax.Array, mode: BNMode = "frozen") -> dict[str, jax.Array]:
        """uint8 [B, S, T, H, W, 3] -> the head's outputs."""
        return self.head(self.features(video, mode))
