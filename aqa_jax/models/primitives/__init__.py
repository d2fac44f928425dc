"""The 3-D operations of an inflated network, in a plain XLA form and a CPU form.

XLA's CPU back end is fast at 2-D convolutions and slow at 3-D ones, at ``reduce_window`` and at its gradient. The CPU
forms say the same in terms that it is fast at: a 3-D convolution becomes 2-D ones over tiles of frames
(:mod:`.tiles`) or one over taps as channels (:mod:`.by_2d`), a 1x1x1 convolution a matrix product, a grouped one
multiply-adds of whole rows (:mod:`.grouped`), and a max pool shifted maxima, one axis at a time (:mod:`.pool`). Both
forms are tested against each other in float64.

Layouts: activations ``[B, T, H, W, C]``, kernels ``[kt, kh, kw, C, O]``. Padding is explicit: a ``(low, high)`` pair
for each of T, H, W.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from aqa_jax.models.primitives.by_2d import conv_by_2d, conv_by_dot
from aqa_jax.models.primitives.grouped import grouped_conv
from aqa_jax.models.primitives.pad import Pairs, pad
from aqa_jax.models.primitives.pool import max_pool_axis
from aqa_jax.models.primitives.tiles import conv_by_tiles, tile_of

Form = Literal["auto", "plain", "cpu"]
# GFLOP of a convolution, in one device's share of the batch, from which tiles save more time than their dozens of small
# programs take to compile: on images of up to so many entries, where the other form is slower, and on larger ones.
SMALL_IMAGE, WORTH_TILES = 256, (0.03, 0.2)
# Outputs (over batch, time and space) up to which one matrix product of copied windows is fastest.
FEW_POSITIONS = 256


def resolve_form(form: Form) -> Literal["plain", "cpu"]:
    """The form that ``"auto"`` stands for on the default backend."""
    if form == "auto":
        return "cpu" if jax.default_backend() == "cpu" else "plain"
    return form


def conv3d(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int] = (1, 1, 1),
    padding: Pairs = ((0, 0),) * 3,
    form: Form = "auto",
) -> jax.Array:
    """Cross-correlation of ``x`` [B, T, H, W, C] with ``kernel`` [kt, kh, kw, C, O], in the dtype of ``x``."""
    kernel = kernel.astype(x.dtype)
    if resolve_form(form) == "plain":
        return lax.conv_general_dilated(
            x, kernel, tuple(strides), list(padding), dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
        )
    kernel, padding = _without_blind_taps(x.shape, kernel, strides, padding)
    if kernel.shape[:3] == (1, 1, 1) and tuple(strides) == (1, 1, 1) and not any(map(any, padding)):
        return lax.dot_general(x, lax.squeeze(kernel, (0, 1, 2)), (((4,), (0,)), ((), ())))
    sizes = zip(x.shape[1:4], kernel.shape[:3], strides, padding, strict=True)
    out = [(n + sum(pad) - k) // s + 1 for n, k, s, pad in sizes]
    # XLA hands 2-D convolutions of tiny images to a slow path.
    if x.shape[0] * math.prod(out) <= FEW_POSITIONS or out[1] * out[2] <= 4:
        return conv_by_dot(x, kernel, strides, padding)
    tile = tile_of(out[0], -(-kernel.shape[0] // strides[0])) if strides[0] <= 2 else 0
    gflop = 2e-9 * x.shape[0] * math.prod(out) * math.prod(kernel.shape)
    worth = WORTH_TILES[out[1] * out[2] > SMALL_IMAGE]
    # Tiles lose three bits: nothing in float32, too much in a half precision.
    if tile and gflop >= worth and x.dtype in (jnp.float32, jnp.float64):
        return conv_by_tiles(x, kernel, strides, padding, tile)
    return conv_by_2d(x, kernel, strides, padding)


def _without_blind_taps(shape, kernel, strides, padding):
    """Kernel and padding without the taps that see only padding, as most do where an image has shrunk to 1x1."""
    window, pads = [], []
    for n, size, stride, (low, high) in zip(shape[1:4], kernel.shape[:3], strides, padding, strict=True):
        out = n + low + high - size + 1
        first, last = (max(low - out + 1, 0), min(low + n, size)) if stride == 1 else (0, size)
        window.append(slice(first, last))
        pads.append((low - first, high - (size - last)))
    return kernel[tuple(window)], pads


def grouped_conv3d(x: jax.Array, kernel: jax.Array, padding: Pairs, form: Form = "auto") -> jax.Array:
    """Cross-correlation at stride 1 where each output channel sees a few neighbouring input channels.

    Args:
      x: [B, T, H, W, G * r].
      kernel: [kt, kh, kw, r, G]; output channel g sees the input channels g * r to g * r + r - 1.
      padding: zeros before and after T, H, W.
      form: XLA's own grouped convolution, or (CPU, where its weight gradient takes minutes) a loop over the taps.

    Returns:
      [B, T', H', W', G] in the dtype of ``x``.
    """
    kernel = kernel.astype(x.dtype)
    if resolve_form(form) == "plain":
        return lax.conv_general_dilated(
            x, kernel, (1, 1, 1), list(padding), dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
            feature_group_count=kernel.shape[4],
        )  # fmt: skip
    return grouped_conv(x, kernel, tuple(map(tuple, padding)))


def max_pool3d(
    x: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    pad_value: float = 0.0,
    form: Form = "auto",
) -> jax.Array:
    """Maximum over ``window`` of ``x`` [B, T, H, W, C], with ``pad_value`` outside.

    Where several entries of a window share the maximum, the gradient goes to the first in (T, H, W) order, as in torch.
    """
    x = pad(x, ((0, 0), *padding, (0, 0)), pad_value)
    if resolve_form(form) == "plain":
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), "VALID")
    # Width first, time last: a tie is then decided for the earliest time, then row, then column.
    for axis in (3, 2, 1):
        x = max_pool_axis(x, axis, window[axis - 1], strides[axis - 1])
    return x


def avg_pool3d(x: jax.Array, window: Sequence[int]) -> jax.Array:
    """Mean over ``window`` at stride 1 without padding; a window larger than ``x`` is cut to its size."""
    window = tuple(min(w, s) for w, s in zip(window, x.shape[1:4], strict=True))
    total = x
    for axis, size in enumerate(window, start=1):
        if size == x.shape[axis]:
            total = total.sum(axis, keepdims=True)
        else:
            # Sums of slices: the gradient of ``reduce_window`` is slow to compile.
            rows = x.shape[axis] - size + 1
            parts = [lax.slice_in_dim(total, k, k + rows, axis=axis) for k in range(size)]
            total = functools.reduce(jnp.add, parts)
    return total / (window[0] * window[1] * window[2])
