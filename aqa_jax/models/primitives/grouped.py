"""A grouped 3-D convolution as shifted multiply-adds."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

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


def _grouped_fwd(x, kernel, padding):
    return grouped_conv(x.value, kernel.value, padding), (
        x.value if kernel.perturbed else None,
        x.value.shape if x.perturbed else None,
        kernel.value,
    )


def _grouped_bwd(padding, residuals, g):
    x, shape, kernel = residuals
    if isinstance(g, SymbolicZero):
        return None, None
    dx = None if shape is None else _input_gradient(shape, kernel, padding, g)
    return dx, None if x is None else _kernel_gradient(x, kernel, padding, g)


def _input_gradient(shape, kernel, padding, g):
    batch, time, height, width, _ = shape
    window = kernel.shape[:3]
    per_group, groups = kernel.shape[3:]
    # An input entry at p is seen by tap k of the output at p + low - k: the output's gradient, padded the other way.
    around = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(window, padding, strict=True)]
    g = lax.pad(g, jnp.zeros((), g.dtype), [(0, 0, 0), *((a, b, 0) for a, b in around), (0, 0, 0)])
    taps = _taps((time, height, width), window, padding)

    def row(index):
        h, plane = index // per_group, index % per_group
        weights = lax.dynamic_index_in_dim(kernel, plane, axis=3, keepdims=False)
        total = jnp.zeros((batch, time, width, groups), g.dtype)
        for t, k, w in taps:
            start = (0, window[0] - 1 - t, h + window[1] - 1 - k, window[2] - 1 - w, 0)
            seen_by = lax.dynamic_slice(g, start, (batch, time, 1, width, groups))[:, :, 0]
            total = total + seen_by * weights[t, k, w][None, None, None]
        return total

    rows = lax.map(row, jnp.arange(height * per_group)).reshape(height, per_group, batch, time, width, groups)
    return jnp.transpose(rows, (2, 3, 0, 4, 5, 1)).reshape(shape)


def _kernel_gradient(x, kernel, padding, g):
    kw_count, per_group = kernel.shape[2:4]
    batch, time, height, width, groups = g.shape
    seen = sorted({tap[:2] for tap in _taps(x.shape[1:4], kernel.shape[:3], padding)})
    offsets, planes = jnp.array(seen).reshape(-1, 2), jnp.stack(_planes(x, per_group, padding))
    # Part of the sum over rows is written out, for then product and sum are one loop: rows this far from each other.
    apart = max(n for n in range(1, 9) if height % n == 0)
    size = (1, batch, time, height, width + kw_count - 1, groups)

    def of_plane(index):
        """[kw, G]: the taps of one time and row, for one plane."""
        t, h = offsets[index // per_group]
        plane = lax.dynamic_slice(planes, (index % per_group, 0, t, h, 0, 0), size)[0]
        totals = [jnp.zeros((batch, time, height // apart, width, groups), g.dtype) for _ in range(kw_count)]
        for row in range(apart):
            for w in range(kw_count):
                totals[w] = totals[w] + plane[:, :, row::apart, w : w + width] * g[:, :, row::apart]
        return jnp.stack([total.sum((0, 1, 2, 3)) for total in totals])

    sums = lax.map(of_plane, jnp.arange(len(seen) * per_group)).reshape(len(seen), per_group, kw_count, groups)
    return jnp.zeros_like(kernel).at[offsets[:, 0], offsets[:, 1]].set(jnp.swapaxes(sums, 1, 2))


grouped_conv.defvjp(_grouped_fwd, _grouped_bwd, symbolic_zeros=True)
