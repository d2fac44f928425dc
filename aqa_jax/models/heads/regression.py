"""Plain regression: one number, and one spread for all videos.

Baseline of the papers: their two hidden layers (DAE, arXiv 2111.11029; USDL, CVPR 2020), C -> 256 -> 128 with ReLU,
then Linear 128 -> 1. Sigma is a single learnt number, so that the prediction is a distribution like the other heads'.

Loss, in units of the training scores' spread, with r = (y - mu) / spread and sg(.) that no gradient goes through:
``r^2 + 1/2 (sg(r)^2 / sigma^2 + log sigma^2)``. The squared error alone trains the mean, the likelihood sigma.

Shapes: features [B, C]; output ``mean`` [B].
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.models.heads.base import Constant, Labels
from aqa_jax.models.heads.labels import location
from aqa_jax.models.layers import Linear, Scalar
from aqa_jax.models.scores import ScoreDistribution


class Regression(nnx.Module):
    """The head; its units are the mean and spread of the training scores."""

    columns: tuple[str, ...] = ("score",)

    def __init__(self, features: int, settings: HeadConfig, *, offset: float = 0.0, scale: float = 1.0, rngs: nnx.Rngs):
        """Makes the layers; network output 0 is a score of ``offset``, one unit of it is ``scale`` score points."""
        first, second = settings.hidden
        self.first = Linear(features, first, rngs)
        self.second = Linear(first, second, rngs)
        self.mean = Linear(second, 1, rngs)
        self.log_sigma = Scalar()
        self.offset, self.scale = Constant(jnp.float32(offset)), Constant(jnp.float32(scale))
        self.sigma_floor = settings.sigma_floor

    def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
        """Features [B, C] -> ``mean`` [B], in network units."""
        hidden = jax.nn.relu(self.second(jax.nn.relu(self.first(features))))
        return {"mean": self.mean(hidden)[:, 0]}

    @property
    def variance(self) -> jax.Array:
        """Of every video's score, in network units squared: a scalar."""
        return jnp.exp(2 * self.log_sigma()) + self.sigma_floor**2

    def distribution(self, outputs: dict[str, jax.Array], batch: Mapping[str, jax.Array]) -> ScoreDistribution:
        """The predicted scores [B]; nothing is read from ``batch``."""
        mean = self.offset[...] + self.scale[...] * outputs["mean"]
        return ScoreDistribution(mean, jnp.broadcast_to(self.scale[...] * jnp.sqrt(self.variance), mean.shape))

    def loss(
        self,
        outputs: dict[str, jax.Array],
        batch: Mapping[str, jax.Array],
        key: jax.Array,
        progress: jax.Array,
    ) -> jax.Array:
        """Loss per example [B]."""
        error = jnp.square((batch["score"] - self.offset[...]) / self.scale[...] - outputs["mean"])
        return error + 0.5 * (jax.lax.stop_gradient(error) / self.variance + jnp.log(self.variance))


def make_regression(features: int, settings: HeadConfig, labels: Labels | None, rngs: nnx.Rngs) -> Regression:
    """The head, standardised by the training scores ``labels['score']`` [N] if the settings say so.

    Raises:
      DataError: all training scores are the same.
    """
    offset, scale = (0.0, 1.0) if labels is None else location(labels["score"], settings)
    return Regression(features, settings, offset=offset, scale=scale, rngs=rngs)
