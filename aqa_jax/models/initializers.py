"""Initial weights drawn by numpy: XLA would compile a program for every shape, a minute of them for one I3D."""

import jax
import jax.numpy as jnp
import numpy as np


def _draw(key: jax.Array, shape: tuple[int, ...], draw) -> jax.Array:
    if isinstance(key, jax.core.Tracer):
        return jnp.zeros(shape, jnp.float32)  # Only the shape is asked for.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    return jnp.asarray(draw(rng), jnp.float32)


def normal(key: jax.Array, shape: tuple[int, ...], std: float) -> jax.Array:
    """float32 normal values of standard deviation ``std``, determined by ``key``."""
    return _draw(key, shape, lambda rng: std * rng.standard_normal(shape, np.float32))


def uniform(key: jax.Array, shape: tuple[int, ...], bound: float) -> jax.Array:
    """float32 values uniform on [-bound, bound), determined by ``key``."""
    return _draw(key, shape, lambda rng: bound * (2 * rng.random(shape, np.float32) - 1))
