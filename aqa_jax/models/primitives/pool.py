"""A max pool along one axis as shifted maxima, whose gradient only looks up which tap won."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from aqa_jax.models.primitives.pad import pad


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool_axis(x: jax.Array, axis: int, window: int, stride: int) -> jax.Array:
    """Maximum over ``window`` entries along ``axis``, unpadded; of equal ones the first gets the gradient."""
    return _max_and_tap(x, axis, window, stride)[0]


def _max_and_tap(x, axis, window, stride):
    if window == 1 and stride == 1:
        return x, None
    span = (x.shape[axis] - window) // stride * stride + 1
    best = lax.slice_in_dim(x, 0, span, stride, axis=axis)
    tap = lax.full(best.shape, 0, jnp.int8)
    for k in range(1, window):
        candidate = lax.slice_in_dim(x, k, k + span, stride, axis=axis)
        # NaN must win, or a poisoned input would pass unseen.
        wins = lax.bitwise_or(lax.gt(candidate, best), lax.ne(candidate, candidate))
        tap = lax.select(wins, lax.full_like(tap, k), tap)
        best = lax.select(wins, candidate, best)
    return best, tap


def _fwd(x, axis, window, stride):
    best, tap = _max_and_tap(x, axis, window, stride)
    return best, (tap, x.shape[axis])


def _bwd(axis, window, stride, residuals, g):
    tap, size = residuals
    if tap is None:
        return (g,)
    # Entry stride * q + rest was tap rest + stride * e of output q - e.
    reach, rows = (window - 1) // stride, -(-size // stride)
    around = [(0, 0)] * g.ndim
    around[axis] = (reach, max(rows - g.shape[axis], 0))
    g, tap = pad(g, around), pad(tap, around, -1)
    shape = (*g.shape[:axis], rows, *g.shape[axis + 1 :])
    nothing = lax.full(shape, 0, g.dtype)
    phases = []
    for rest in range(stride):
        terms = []
        for e in range(reach + 1):
            if rest + stride * e < window:
                start = reach - e
                taken, value = (lax.slice_in_dim(a, start, start + rows, axis=axis) for a in (tap, g))
                terms.append(lax.select(lax.eq(taken, np.int8(rest + stride * e)), value, nothing))
        phases.append(functools.reduce(lax.add, terms or [nothing]))
    if stride == 1:
        return (phases[0],)
    spread = jnp.stack(phases, axis=axis + 1)
    spread = spread.reshape(*spread.shape[:axis], rows * stride, *spread.shape[axis + 2 :])
    return (lax.slice_in_dim(spread, 0, size, axis=axis),)


max_pool_axis.defvjp(_fwd, _bwd)
