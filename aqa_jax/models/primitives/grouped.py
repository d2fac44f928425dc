"""A grouped 3-D convolution as shifted multiply-adds."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from aqa_jax.models.primitives.by_2d import Pairs


def _taps(sizes, window, padding) -> list[tuple[int, ...]]:
    """Offsets of the taps that see more than padding."""
    out = [n + sum(p) - k + 1 for n, k, p in zip(sizes, window, padding, strict=True)]
    kept = []
    for tap in itertools.product(*map(range, window)):
        spans = zip(tap, sizes, padding, out, strict=True)
        if all(k + o > low and k < low + n for k, n, (low, _), o in spans):
            kept.append(tap)
    return kept


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def grouped_conv(x: jax.Array, kernel: jax.Array, padding: Pairs) -> jax.Array:
    """As :func:`aqa_jax.models.primitives.grouped_conv3d`.

    One row of the output at a time, so that a row's sum over all taps stays in the processor's cache.
    """
    offsets, planes = _taps(x.shape[1:4], kernel.shape[:3], padding), _planes(x, kernel.shape[3], padding)
    batch, time, height, width, groups = _out_shape(planes[0].shape, kernel.shape)

    def row(h):
        total = jnp.zeros((batch, time, width, groups), x.dtype)
        for t, k, w in offsets:
            for plane, weights in zip(planes, kernel[t, k, w], strict=True):
                seen = lax.dynamic_slice(plane, (0, t, h + k, w, 0), (batch, time, 1, width, groups))[:, :, 0]
                total = total + seen * weights[None, None, None]
        return total

    return jnp.moveaxis(lax.map(row, jnp.arange(height)), 0, 2)


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
    return grouped_conv(x, kernel, padding), (x, kernel)


def _grouped_bwd(padding, residuals, g):
    x, kernel = residuals
    offsets = jnp.array(_taps(x.shape[1:4], kernel.shape[:3], padding)).reshape(-1, 3)
    planes = _planes(x, kernel.shape[3], padding)
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


grouped_conv.defvjp(_grouped_fwd, _grouped_bwd)
