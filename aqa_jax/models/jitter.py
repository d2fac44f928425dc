"""Colour jitter on the device: one draw per clip, so that it changes looks and never motion."""

import jax
import jax.numpy as jnp

_GREY = (0.299, 0.587, 0.114)


def colour_jitter(video: jax.Array, strength: float, key: jax.Array) -> jax.Array:
    """Brightness, contrast and saturation changed by factors of 1 - ``strength`` to 1 + ``strength``.

    Args:
      video: uint8 RGB [B, S, T, H, W, 3].
      strength: 0 changes nothing; PECoP builds its (unused) jitter with 0.1.
      key: of the draws, three a video.

    Returns:
      float32 of the same shape, in 0..255.
    """
    shape = (video.shape[0],) + (1,) * (video.ndim - 1)
    brightness, contrast, saturation = (
        jax.random.uniform(k, shape, minval=1 - strength, maxval=1 + strength) for k in jax.random.split(key, 3)
    )
    x = video.astype(jnp.float32) * brightness
    weights = jnp.array(_GREY).reshape((1,) * (video.ndim - 1) + (3,))
    grey = (x * weights).sum(-1, keepdims=True)
    x = grey + (x - grey) * saturation
    # Contrast around the clip's mean grey, not a frame's: a frame's would flicker with what moves.
    centre = grey.mean(tuple(range(1, video.ndim)), keepdims=True)
    return jnp.clip(centre + (x - centre) * contrast, 0, 255)
