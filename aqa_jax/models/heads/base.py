"""The interface of a scoring head."""

from collections.abc import Mapping
from typing import Protocol

import jax
import numpy as np
from flax import nnx

from aqa_jax.models.scores import ScoreDistribution


class Constant(nnx.Variable):
    """A number learnt from the training labels rather than by gradient, such as their mean: saved, never trained."""


class Head(Protocol):
    """From features to a :class:`ScoreDistribution`, with a loss to train it by.

    A batch holds one float32 array per column: ``score`` [B], and what ``columns`` names beside it.
    """

    columns: tuple[str, ...]

    def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
        """Features [B, C] float32 -> the head's raw outputs, each with a leading [B]."""
        ...

    def loss(
        self,
        outputs: dict[str, jax.Array],
        batch: Mapping[str, jax.Array],
        key: jax.Array,
        progress: jax.Array,
    ) -> jax.Array:
        """Loss per example [B]; ``progress`` runs from 0 to 1 over the training, ``key`` is fresh each step."""
        ...

    def distribution(self, outputs: dict[str, jax.Array], batch: Mapping[str, jax.Array]) -> ScoreDistribution:
        """The predicted scores [B], in score points."""
        ...


# The training videos' table, as heads see it when they are made: one array per column; None where the head's constants
# come from a checkpoint instead.
Labels = Mapping[str, np.ndarray]
