"""A grouped 3-D convolution as shifted multiply-adds."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from aqa_jax.models.primitives.pad import Pairs, pad


def _taps(sizes, window, padding) -> list[tuple[int, ...]]:
    """Offsets of the taps that see more than padding."""
    out = [n + sum(p) - k + 1 for n, k, p in zip(sizes, window, padding, strict=True)]
    kept = []
    for tap in itertools.product(*map(range, window)):
        spans = zip(tap, sizes, padding, out, strict=True)
        if all(k + o > low and k < low + n for k, n, (low, _), o in spans):
            kept.append(tap)
    return kept


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def grouped_conv(x: jax.Array, kernel: jax.Array, padding: Pairs) -> jax.Array:
    """As :func:`aqa_jax.models.primitives.grouped_conv3d`.

    One row of the output at a time, so that a row's sum over all taps stays in the processor's cache. Written in lax,
    with few operations a term: hundreds of terms take jax.numpy seconds to trace.
    """
    offsets, planes = _taps(x.shape[1:4], kernel.shape[:3], padding), _planes(x, kernel.shape[3], padding)
    batch, time, height, width, groups = _out_shape(planes[0].shape, kernel.shape)

    def row(h):
        rows, weights = [[_row(plane, h, k) for k in range(kernel.shape[1])] for plane in planes], _weights(kernel)
        shape = (batch, time, width, groups)
        terms = [
            _term(rows[i][k], (t, w), weights[t, k, w, i], shape) for t, k, w in offsets for i in range(len(planes))
        ]  # fmt: skip
        return functools.reduce(lax.add, terms)

    return jnp.moveaxis(lax.map(row, jnp.arange(height, dtype=jnp.int32)), 0, 2)


def _row(video, h, k):
    """[B, T', W', G] of the row ``h + k`` (h traced) of [B, T', H', W', G]."""
    start = (np.int32(0), np.int32(0), lax.add(h, np.int32(k)), np.int32(0), np.int32(0))
    size = (*video.shape[:2], 1, *video.shape[3:])
    return lax.squeeze(lax.dynamic_slice(video, start, size, allow_negative_indices=False), (2,))


def _weights(kernel):
    """The weights [1, 1, 1, G] of each tap of [..., G]."""
    taps = kernel.shape[:-1]
    parts = lax.split(lax.reshape(kernel, (math.prod(taps), 1, 1, kernel.shape[-1])), (1,) * math.prod(taps))
    return dict(zip(np.ndindex(*taps), parts, strict=True))


def _term(row, start, weights, shape):
    """What a row adds to [B, T, W, G] through one tap, from ``start`` in time and width on."""
    (t, w), (batch, time, width, groups) = start, shape
    seen = lax.slice(row, (0, t, w, 0), (batch, t + time, w + width, groups))
    return lax.mul(seen, weights)


def _planes(x, per_group, padding):
    """[B, T, H, W, G * r] -> r arrays [B, T', H', W', G], padded: the groups' first channels, their second, ...

    Apart and not stacked: XLA vectorises the sum over arrays, and not the one over a leading axis.
    """
    x = pad(x, ((0, 0), *padding, (0, 0)))
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
    g = pad(g, ((0, 0), *around, (0, 0)))
    taps = _taps((time, height, width), window, padding)

    def row(index):
        h, plane = lax.div(index, np.int32(per_group)), lax.rem(index, np.int32(per_group))
        weights = _weights(lax.dynamic_index_in_dim(kernel, plane, axis=3, keepdims=False))
        rows = [_row(g, h, window[1] - 1 - k) for k in range(window[1])]
        terms = [
            _term(rows[k], (window[0] - 1 - t, window[2] - 1 - w), weights[t, k, w], (batch, time, width, groups))
            for t, k, w in taps
        ]
        return functools.reduce(lax.add, terms)

    rows = lax.map(row, jnp.arange(height * per_group, dtype=jnp.int32)).reshape(
        height, per_group, batch, time, width, groups
    )
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
        strides = (1, 1, apart, 1, 1)
        by_width: list[list[jax.Array]] = [[] for _ in range(kw_count)]
        for row in range(apart):
            gradient = lax.slice(g, (0, 0, row, 0, 0), g.shape, strides)
            for w, terms in enumerate(by_width):
                stop = (batch, time, height, w + width, groups)
                terms.append(lax.mul(lax.slice(plane, (0, 0, row, w, 0), stop, strides), gradient))
        return jnp.stack([functools.reduce(lax.add, terms).sum((0, 1, 2, 3)) for terms in by_width])

    sums = lax.map(of_plane, jnp.arange(len(seen) * per_group)).reshape(len(seen), per_group, kw_count, groups)
    return jnp.zeros_like(kernel).at[offsets[:, 0], offsets[:, 1]].set(jnp.swapaxes(sums, 1, 2))


grouped_conv.defvjp(_grouped_fwd, _grouped_bwd, symbolic_zeros=True)
