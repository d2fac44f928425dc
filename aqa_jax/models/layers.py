"""Layers that heads are made of."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.models import initializers


class Linear(nnx.Module):
    """A linear layer with torch's default initialisation, which the originals rely on."""

    def __init__(self, in_features: int, out_features: int, rngs: nnx.Rngs):
        """Makes ``kernel`` [in, out] and ``bias`` [out]."""
        bound = 1 / math.sqrt(in_features)
        self.kernel = nnx.Param(initializers.uniform(rngs.params(), (in_features, out_features), bound))
        self.bias = nnx.Param(initializers.uniform(rngs.params(), (out_features,), bound))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, in] -> [B, out]."""
        return x @ self.kernel[...] + self.bias[None]


class StackedLinear(nnx.Module):
    """J independent :class:`Linear` layers side by side, one for each judge."""

    def __init__(self, stack: int, in_features: int, out_features: int, rngs: nnx.Rngs):
        """Makes ``kernel`` [J, in, out] and ``bias`` [J, out] for J = ``stack``."""
        bound = 1 / math.sqrt(in_features)
        self.stack = stack
        self.kernel = nnx.Param(initializers.uniform(rngs.params(), (stack, in_features, out_features), bound))
        self.bias = nnx.Param(initializers.uniform(rngs.params(), (stack, out_features), bound))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, J, in], or [B, in] for one input to all -> [B, J, out]."""
        form = "bi,jio->bjo" if x.ndim == 2 else "bji,jio->bjo"
        return jnp.einsum(form, x, self.kernel[...]) + self.bias[None]


class Scalar(nnx.Module):
    """One learnt number, 0 at first, such as the logarithm of a spread that all videos share."""

    # Adam moves a parameter by about the learning rate a step: at the papers' 1e-4 a number with no layers before it
    # would need 10,000 steps to move by 1.
    RATE = 10.0

    def __init__(self) -> None:
        """Makes ``value``, a scalar."""
        self.value = nnx.Param(jnp.zeros((), jnp.float32))

    def __call__(self) -> jax.Array:
        """The number: a scalar."""
        return self.RATE * self.value[...]
