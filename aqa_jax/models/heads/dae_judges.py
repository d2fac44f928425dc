"""MUSDL's panel with a DAE head for each judge (JIGSAWS: for each item): the marks' joint distribution.

Each judge j has a multilayer perceptron of its own, C -> 256 -> 128 -> (m_j, log v_j), as MUSDL's evaluators; one more
output, from the mean of the judges' hidden layers, is log c (``model_error=one``: one learnt number). The marks y are
taken as jointly normal,

    y ~ N(m, diag(v) + c 1 1^T):   v_j is judge j's own noise, c the model's error, which all judges share.

Loss, the DAE's likelihood of the whole panel: ``alpha r^T S^-1 r + beta log det S`` with r = y - m, S the covariance,
divided by the number of judges J. It is closed form: with w = 1/v,
``r^T S^-1 r = sum(w r^2) - c (sum w r)^2 / (1 + c sum w)`` and ``log det S = sum log v + log(1 + c sum w)``.
How far the judges of one performance lie apart tells v, and only v; separate likelihoods for each judge could not tell
noise from error. The score is the panel's (diving: middle three of seven, times the difficulty), its variance that of
the rule: 1.57 mean(v) + 9 c for the middle three, sum(v) + J^2 c for a sum.

Shapes: features [B, C]; outputs ``marks``, ``logvar`` [B, J], ``logcommon`` [B].
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.models.heads.base import Constant, Labels
from aqa_jax.models.heads.labels import check_difficulty, check_marks, location
from aqa_jax.models.heads.likelihood import blended, sampled_loss
from aqa_jax.models.heads.panel import MEMBERS, MIDDLE_THREE_VARIANCE, multiplies, panel_score
from aqa_jax.models.layers import Linear, Scalar, StackedLinear
from aqa_jax.models.scores import ScoreDistribution


class DAEJudges(nnx.Module):
    """The head; its units are the mean and spread of the training marks."""

    def __init__(self, features: int, settings: HeadConfig, *, offset: float = 0.0, scale: float = 1.0, rngs: nnx.Rngs):
        """Makes the layers; ``offset`` and ``scale`` are the mean and spread of all training marks."""
        judges = MEMBERS[settings.panel]
        first, second = settings.hidden
        self.fc1 = StackedLinear(judges, features, first, rngs)
        self.fch = StackedLinear(judges, first, second, rngs)
        self.fc2_mean = StackedLinear(judges, second, 1, rngs)
        self.fc2_logvar = StackedLinear(judges, second, 1, rngs)
        if settings.model_error == "one":
            self.log_common = Scalar()
        else:
            self.common = Linear(second, 1, rngs)
        self.offset, self.scale = Constant(jnp.float32(offset)), Constant(jnp.float32(scale))
        self.settings = settings
        self.columns: tuple[str, ...] = ("score", "judges")
        self.times_difficulty = multiplies(settings)
        if self.times_difficulty:
            self.columns += ("difficulty",)

    def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
        """Features [B, C] -> ``marks``, ``logvar`` [B, J] and ``logcommon`` [B], in units of the marks' spread."""
        hidden = jax.nn.relu(self.fc1(features))
        hidden = jax.nn.relu(self.fch(hidden))
        if self.settings.model_error == "one":
            common = jnp.broadcast_to(self.log_common(), len(features))
        else:
            common = self.common(hidden.mean(1))[:, 0]
        return {
            "marks": self.fc2_mean(hidden)[..., 0],
            "logvar": self.fc2_logvar(hidden)[..., 0],
            "logcommon": common,
        }

    def variances(self, outputs: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Each judge's noise [B, J] and the shared error [B], in units of the marks' spread squared."""
        floor = self.settings.sigma_floor**2
        noise, common = (jnp.exp(jnp.maximum(outputs[name], -60.0)) + floor for name in ("logvar", "logcommon"))
        return noise, common

    def distribution(self, outputs: dict[str, jax.Array], batch: Mapping[str, jax.Array]) -> ScoreDistribution:
        """The panel's score; with a difficulty, ``difficulty`` [B] is read from ``batch``."""
        marks = self.offset[...] + self.scale[...] * outputs["marks"]
        noise, common = self.variances(outputs)
        judges = marks.shape[-1]
        if self.settings.panel == "middle3":
            variance = MIDDLE_THREE_VARIANCE * noise.mean(-1) + 9 * common
        else:
            variance = noise.sum(-1) + judges**2 * common
        mean, sigma = panel_score(marks, self.settings.panel), self.scale[...] * jnp.sqrt(variance)
        if self.times_difficulty:
            mean, sigma = mean * batch["difficulty"], sigma * batch["difficulty"]
        return ScoreDistribution(mean, sigma)

    def loss(
        self,
        outputs: dict[str, jax.Array],
        batch: Mapping[str, jax.Array],
        key: jax.Array,
        progress: jax.Array,
    ) -> jax.Array:
        """Loss per example [B]; ``judges`` [B, J] are the marks."""
        residual = (batch["judges"] - self.offset[...]) / self.scale[...] - outputs["marks"]
        noise, common = self.variances(outputs)
        settings = self.settings
        if settings.loss.startswith("released"):
            return sampled_loss(residual, jnp.sqrt(noise + common[:, None]), settings, key).mean(-1)
        fixed = jax.lax.stop_gradient(residual) if settings.loss == "detached" else residual
        quadratic, log_determinant = _joint(fixed, noise, common)
        judges = residual.shape[-1]
        variance = noise.mean(-1) + common
        return blended(
            jnp.square(residual).mean(-1), quadratic / judges, log_determinant / judges, variance, settings, progress
        )


def _joint(residual: jax.Array, noise: jax.Array, common: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Quadratic form and log determinant [B] of the covariance diag(noise) + common 1 1^T (Sherman and Morrison)."""
    weight = 1 / noise
    shared = 1 + common * weight.sum(-1)
    quadratic = (weight * residual**2).sum(-1) - common * (weight * residual).sum(-1) ** 2 / shared
    return quadratic, jnp.log(noise).sum(-1) + jnp.log(shared)


def make_dae_judges(features: int, settings: HeadConfig, labels: Labels | None, rngs: nnx.Rngs) -> DAEJudges:
    """The head for training videos with marks ``labels['judges']`` [N, J].

    Raises:
      DataError: the dataset has no such marks, or no difficulties where the score is multiplied by them.
    """
    if labels is None:
        return DAEJudges(features, settings, rngs=rngs)
    marks = check_marks(labels, settings, "dae_judges")
    if multiplies(settings):
        check_difficulty(labels, "dae_judges")
    offset, scale = location(marks, settings)
    return DAEJudges(features, settings, offset=offset, scale=scale, rngs=rngs)
