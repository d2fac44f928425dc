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
