"""DAE-CoRe (a row of DAE's tables, arXiv 2111.11029; no code was released): a DAE in place of CoRe's tree.

A video is scored relative to exemplars (:mod:`aqa_jax.models.heads.exemplars`); of each pair the DAE predicts mean and
variance of the relative score. Loss of a pair, with r = delta - mu: ``alpha r^2 / sigma^2 + beta log sigma^2`` or what
else ``config.head.loss`` says (:mod:`aqa_jax.models.heads.likelihood`). Sigma of a pair holds the exemplar's noise
beside the query's, and averaging votes does not take that out: recalibration does.

Shapes: Linear 2C+1 -> 256 -> 128 with ReLU, two Linear 128 -> 1; outputs ``mean``, ``logvar`` [N], in units of the
training pairs' spread.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.models.heads.base import Constant, Labels
from aqa_jax.models.heads.exemplars import ExemplarHead, chosen_exemplars, relative_scores, training_scores
from aqa_jax.models.heads.likelihood import likelihood_loss, sampled_loss
from aqa_jax.models.layers import Linear
from aqa_jax.models.scores import ScoreDistribution


class DAECoRe(ExemplarHead):
    """The head. Layers carry DAE's names."""

    def __init__(self, features: int, settings: HeadConfig, rngs: nnx.Rngs):
        """Makes the layers; scale and exemplars are filled in by :func:`make_dae_core`."""
        super().__init__(features, settings)
        first, second = settings.hidden
        self.fc1 = Linear(2 * features + 1, first, rngs)
        self.fch = Linear(first, second, rngs)
        self.fc2_mean = Linear(second, 1, rngs)
        self.fc2_logvar = Linear(second, 1, rngs)
        # Score points of one unit of network output.
        self.scale = Constant(jnp.float32(1))

    def pair_outputs(self, pairs: jax.Array) -> dict[str, jax.Array]:
        """Pair inputs [N, 2C + 1] -> ``mean`` and ``logvar`` of the relative score [N], in network units."""
        hidden = jax.nn.relu(self.fch(jax.nn.relu(self.fc1(pairs))))
        return {"mean": self.fc2_mean(hidden)[:, 0], "logvar": self.fc2_logvar(hidden)[:, 0]}

    def pair_loss(
        self, outputs: dict[str, jax.Array], delta: jax.Array, key: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """The DAE's loss [N], in network units."""
        residual = delta / self.scale[...] - outputs["mean"]
        if self.settings.loss.startswith("released"):
            return sampled_loss(residual, jnp.sqrt(self._variance(outputs)), self.settings, key)
        return likelihood_loss(residual, self._variance(outputs), self.settings, progress)

    def pair_distribution(self, outputs: dict[str, jax.Array]) -> ScoreDistribution:
        """The relative score [N]."""
        sigma = jnp.sqrt(self._variance(outputs))
        return ScoreDistribution(self.scale[...] * outputs["mean"], self.scale[...] * sigma)

    def _variance(self, outputs: dict[str, jax.Array]) -> jax.Array:
        # Bounded and with a floor as in DAE, for the same reasons.
        return jnp.exp(jnp.maximum(outputs["logvar"], -60.0)) + self.settings.sigma_floor**2


def make_dae_core(features: int, settings: HeadConfig, labels: Labels | None, rngs: nnx.Rngs) -> DAECoRe:
    """DAE-CoRe; the training videos' labels give the scale and the exemplars.

    Raises:
      ConfigError, DataError: see :mod:`aqa_jax.models.heads.exemplars`.
    """
    head = DAECoRe(features, settings, rngs)
    if labels is None:
        return head
    score = training_scores(labels, settings, "dae_core")
    relative = relative_scores(score, labels["exemplar_key"], settings)
    if settings.standardise:
        # Of delta, whose mean is 0 as every pair counts both ways.
        head.scale[...] = jnp.float32(np.sqrt(np.mean(relative**2)))
    head.exemplars.fill(labels, score, chosen_exemplars(labels, settings, rngs))
    return head
