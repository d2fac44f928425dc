"""A 3-D convolution as one 2-D convolution whose channels are the temporal taps', or as one matrix product."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from aqa_jax.models.primitives.pad import Pairs, pad


def conv2d(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pairs, apart: int = 1) -> jax.Array:
    """Cross-correlation of [B, H, W, C] with [kh, kw, C, O], whose columns lie ``apart``."""
    return lax.conv_general_dilated(
        x, kernel, tuple(strides), list(padding), rhs_dilation=(1, apart), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def conv_by_2d(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pairs) -> jax.Array:
    """Cross-correlation of [B, T, H, W, C] with [kt, kh, kw, C, O]."""
    kt, kh, kw, channels, out_channels = kernel.shape
    x = pad(x, ((0, 0), padding[0], (0, 0), (0, 0), (0, 0)))
    batch, time, height, width, _ = x.shape
    out_time = (time - kt) // strides[0] + 1
    span = (out_time - 1) * strides[0] + 1
    taps = [lax.slice_in_dim(x, k, k + span, strides[0], axis=1) for k in range(kt)]
    stacked = jnp.concatenate(taps, axis=-1).reshape(batch * out_time, height, width, kt * channels)
    flat_kernel = jnp.transpose(kernel, (1, 2, 0, 3, 4)).reshape(kh, kw, kt * channels, out_channels)
    y = conv2d(stacked, flat_kernel, strides[1:], padding[1:])
    return y.reshape(batch, out_time, *y.shape[1:])


def conv_by_dot(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pairs) -> jax.Array:
    """Cross-correlation of [B, T, H, W, C] with [kt, kh, kw, C, O]; every output's whole window is copied."""
    window = kernel.shape[:3]
    x = pad(x, ((0, 0), *padding, (0, 0)))
    spans = [(n - k) // s * s + 1 for n, k, s in zip(x.shape[1:4], window, strides, strict=True)]
    taps = []
    for start in itertools.product(*map(range, window)):
        ends = [k + span for k, span in zip(start, spans, strict=True)]
        taps.append(lax.slice(x, (0, *start, 0), (x.shape[0], *ends, x.shape[4]), (1, *strides, 1)))
    return jnp.concatenate(taps, axis=-1) @ kernel.reshape(-1, kernel.shape[4])
