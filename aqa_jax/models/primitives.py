"""The 3-D operations of an inflated network, in a plain XLA form and a CPU form.

XLA's CPU back end is fast at 2-D convolutions and slow at 3-D ones, at ``reduce_window`` and at its gradient. The CPU
forms say the same in terms that it is fast at: temporal taps become channels of one 2-D convolution, a 1x1x1
convolution becomes a matrix product, and a max pool becomes shifted maxima, one axis at a time, with a gradient that
only looks up which tap won. Both forms are tested against each other in float64.

Layouts: activations ``[B, T, H, W, C]``, kernels ``[kt, kh, kw, C, O]``. Padding is explicit: a ``(low, high)`` pair
for each of T, H, W.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

Form = Literal["auto", "plain", "cpu"]
Padding = Sequence[tuple[int, int]]


def resolve_form(form: Form) -> Literal["plain", "cpu"]:
    """The form that ``"auto"`` stands for on the default backend."""
    if form == "auto":
        return "cpu" if jax.default_backend() == "cpu" else "plain"
    return form


def conv3d(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int] = (1, 1, 1),
    padding: Padding = ((0, 0),) * 3,
    form: Form = "auto",
) -> jax.Array:
    """Cross-correlation of ``x`` [B, T, H, W, C] with ``kernel`` [kt, kh, kw, C, O], in the dtype of ``x``."""
    kernel = kernel.astype(x.dtype)
    if resolve_form(form) == "plain":
        return lax.conv_general_dilated(
            x, kernel, tuple(strides), list(padding), dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
        )
    if kernel.shape[:3] == (1, 1, 1) and tuple(strides) == (1, 1, 1) and not any(map(any, padding)):
        return jnp.einsum("bthwc,co->bthwo", x, kernel[0, 0, 0])
    return _conv3d_by_2d(x, kernel, tuple(strides), tuple(padding))


def _conv3d_by_2d(x, kernel, strides, padding):
    kt, kh, kw, channels, out_channels = kernel.shape
    x = jnp.pad(x, ((0, 0), tuple(padding[0]), (0, 0), (0, 0), (0, 0)))
    batch, time, height, width, _ = x.shape
    out_time = (time - kt) // strides[0] + 1
    span = (out_time - 1) * strides[0] + 1
    taps = [lax.slice_in_dim(x, k, k + span, strides[0], axis=1) for k in range(kt)]
    stacked = jnp.concatenate(taps, axis=-1).reshape(batch * out_time, height, width, kt * channels)
    flat_kernel = jnp.transpose(kernel, (1, 2, 0, 3, 4)).reshape(kh, kw, kt * channels, out_channels)
    y = lax.conv_general_dilated(
        stacked, flat_kernel, strides[1:], list(padding[1:]), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y.reshape(batch, out_time, *y.shape[1:])


def grouped_conv3d(x: jax.Array, kernel: jax.Array, padding: Padding, form: Form = "auto") -> jax.Array:
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
    return _grouped_by_taps(x, kernel, tuple(map(tuple, padding)))


def _taps(sizes, window, padding) -> jax.Array:
    """Offsets [N, 3] of the taps that see more than padding."""
    out = [n + sum(p) - k + 1 for n, k, p in zip(sizes, window, padding, strict=True)]
    kept = []
    for tap in itertools.product(*map(range, window)):
        spans = zip(tap, sizes, padding, out, strict=True)
        if all(k + o > low and k < low + n for k, n, (low, _), o in spans):
            kept.append(tap)
    return jnp.array(kept).reshape(-1, 3)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _grouped_by_taps(x, kernel, padding):
    offsets, planes = _taps(x.shape[1:4], kernel.shape[:3], padding), _planes(x, kernel.shape[3], padding)
    shape = _out_shape(planes[0].shape, kernel.shape)

    def add(i, total):
        t, h, w = offsets[i]
        for plane, row in zip(planes, kernel[t, h, w], strict=True):
            total = total + lax.dynamic_slice(plane, (0, t, h, w, 0), shape) * _row(row)
        return total

    return lax.fori_loop(0, len(offsets), add, jnp.zeros(shape, x.dtype))


def _planes(x, per_group, padding):
    """[B, T, H, W, G * r] -> r arrays [B, T', H', W', G], padded: the groups' first channels, their second, ...

    Apart and not stacked: XLA vectorises the sum over arrays, and not the one over a leading axis.
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return [x[..., j::per_group] for j in range(per_group)]


def _out_shape(padded, kernel_shape):
    batch, *sizes, groups = padded
    return (batch, *(n - k + 1 for n, k in zip(sizes, kernel_shape[:3], strict=True)), groups)


def _row(values):
    """[G] -> [1, 1, 1, 1, G]."""
    return values.reshape(1, 1, 1, 1, -1)


def _grouped_fwd(x, kernel, padding):
    return _grouped_by_taps(x, kernel, padding), (x, kernel)


def _grouped_bwd(padding, residuals, g):
    x, kernel = residuals
    offsets, planes = _taps(x.shape[1:4], kernel.shape[:3], padding), _planes(x, kernel.shape[3], padding)
    window, plane_shape = kernel.shape[:3], (*x.shape[:4], kernel.shape[4])
    # An input entry at p is seen by tap k of the output at p + low - k: the output's gradient, padded the other way.
    around = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(window, padding, strict=True)]
    padded = lax.pad(g, jnp.zeros((), g.dtype), [(0, 0, 0), *((a, b, 0) for a, b in around), (0, 0, 0)])

    def add(i, totals):
        dplanes, dkernel = totals
        t, h, w = offsets[i]
        back = (0, window[0] - 1 - t, window[1] - 1 - h, window[2] - 1 - w, 0)
        seen_by = lax.dynamic_slice(padded, back, plane_shape)
        rows = kernel[t, h, w]
        dplanes = tuple(d + seen_by * _row(row) for d, row in zip(dplanes, rows, strict=True))
        sums = [(lax.dynamic_slice(plane, (0, t, h, w, 0), g.shape) * g).sum((0, 1, 2, 3)) for plane in planes]
        return dplanes, dkernel.at[t, h, w].set(jnp.stack(sums))

    zeros = tuple(jnp.zeros(plane_shape, x.dtype) for _ in planes)
    dplanes, dkernel = lax.fori_loop(0, len(offsets), add, (zeros, jnp.zeros_like(kernel)))
    return jnp.stack(dplanes, -1).reshape(x.shape), dkernel


_grouped_by_taps.defvjp(_grouped_fwd, _grouped_bwd)


def max_pool3d(
    x: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    pad_value: float = 0.0,
    form: Form = "auto",
) -> jax.Array:
    """Maximum over ``window`` of ``x`` [B, T, H, W, C], with ``pad_value`` outside.

    Where several entries of a window share the maximum, the gradient goes to the first in (T, H, W) order, as in torch.
    """
    x = jnp.pad(x, ((0, 0), *map(tuple, padding), (0, 0)), constant_values=pad_value)
    if resolve_form(form) == "plain":
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), "VALID")
    # Width first, time last: a tie is then decided for the earliest time, then row, then column.
    for axis in (3, 2, 1):
        x = _max_pool_axis(x, axis, window[axis - 1], strides[axis - 1])
    return x


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool_axis(x, axis, window, stride):
    return _max_and_tap(x, axis, window, stride)[0]


def _max_and_tap(x, axis, window, stride):
    if window == 1 and stride == 1:
        return x, None
    span = (x.shape[axis] - window) // stride * stride + 1
    best = lax.slice_in_dim(x, 0, span, stride, axis=axis)
    tap = jnp.zeros(best.shape, jnp.int8)
    for k in range(1, window):
        candidate = lax.slice_in_dim(x, k, k + span, stride, axis=axis)
        # NaN must win, or a poisoned input would pass unseen.
        wins = (candidate > best) | jnp.isnan(candidate)
        tap = jnp.where(wins, jnp.int8(k), tap)
        best = jnp.where(wins, candidate, best)
    return best, tap


def _max_pool_axis_fwd(x, axis, window, stride):
    best, tap = _max_and_tap(x, axis, window, stride)
    return best, (tap, x.shape[axis])


def _max_pool_axis_bwd(axis, window, stride, residuals, g):
    tap, size = residuals
    if tap is None:
        return (g,)
    span = (size - window) // stride * stride + 1
    total = None
    for k in range(window):
        config = [(0, 0, 0)] * g.ndim
        config[axis] = (k, size - k - span, stride - 1)
        part = lax.pad(jnp.where(tap == k, g, 0), jnp.zeros((), g.dtype), config)
        total = part if total is None else total + part
    return (total,)


_max_pool_axis.defvjp(_max_pool_axis_fwd, _max_pool_axis_bwd)


def avg_pool3d(x: jax.Array, window: Sequence[int]) -> jax.Array:
    """Mean over ``window`` at stride 1 without padding; a window larger than ``x`` is cut to its size."""
    window = tuple(min(w, s) for w, s in zip(window, x.shape[1:4], strict=True))
    total = lax.reduce_window(x, 0.0, lax.add, (1, *window, 1), (1,) * 5, "VALID")
    return total / (window[0] * window[1] * window[2])
