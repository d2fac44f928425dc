"""DAE and DAE-MT (arXiv 2111.11029; InfoX-SEU/DAE-AQA).

Linear C -> 256 -> 128 with ReLU, then two Linear 128 -> 1: the mean and the log variance of the score (295,554
parameters at C = 1024). DAE-MT regresses the judges' part and multiplies by the given difficulty.

Loss, rebuilt from the paper: ``alpha (y - mu)^2 / sigma^2 + beta log sigma^2``; its tamer forms are in
:mod:`aqa_jax.models.heads.likelihood`. The released ones draw ``z = mu + sigma eps`` and minimise ``(z - y)^2`` (2021)
or ``(z - y)^2 + (y - mu)^2`` (2023); as E(z - y)^2 = (mu - y)^2 + sigma^2, both drive sigma to 0.

DAE-MT can learn from the judges' spread too (``spread_weight``): a third Linear 128 -> 1 predicts the variance v of one
judge's mark, by the likelihood of the marks' sample variance s^2 (a chi-square law: ``log v + s^2 / v``), and the
score's variance is the model's own plus what judges that vary by v make of their middle three. The error of the mean,
which is most of the residual, tells little about the judges; their spread is a direct reading.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.models.heads.base import Constant, Labels
from aqa_jax.models.heads.labels import check_difficulty, check_marks, location
from aqa_jax.models.heads.likelihood import likelihood_loss, sampled_loss
from aqa_jax.models.heads.panel import MIDDLE_THREE_VARIANCE, middle_three
from aqa_jax.models.layers import Linear, Scalar
from aqa_jax.models.scores import ScoreDistribution

# Half-point marks: no panel is more of one mind than rounding makes it look.
_LEAST_MARK_VARIANCE = 0.5**2 / 12


class DAE(nnx.Module):
    """The head, for DAE (``times_difficulty=False``) and DAE-MT. Layers carry the originals' names."""

    def __init__(
        self, features: int, settings: HeadConfig, *, times_difficulty: bool, offset: float = 0.0, scale: float = 1.0,
        unit: float = 1.0, rngs: nnx.Rngs,
    ):  # fmt: skip
        """Makes the layers.

        Args:
          features: C of the backbone.
          settings: loss and layer widths.
          times_difficulty: regress score / difficulty.
          offset: value of the regressed quantity at network output 0.
          scale: value of one unit of network output.
          unit: score points by which residual and sigma are divided in the loss.
          rngs: source of the initial weights.
        """
        first, second = settings.hidden
        self.fc1 = Linear(features, first, rngs)
        self.fch = Linear(first, second, rngs)
        self.fc2_mean = Linear(second, 1, rngs)
        if settings.model_error == "one":
            self.logvar = Scalar()
        else:
            self.fc2_logvar = Linear(second, 1, rngs)
        self.learns_spread = times_difficulty and settings.spread_weight > 0
        if self.learns_spread:
            self.fc2_spread = Linear(second, 1, rngs)
        self.offset = Constant(jnp.float32(offset))
        self.scale = Constant(jnp.float32(scale))
        self.unit = Constant(jnp.float32(unit))
        self.settings = settings
        self.times_difficulty = times_difficulty
        self.columns: tuple[str, ...] = ("score",)
        if times_difficulty:
            self.columns += ("difficulty",)
        if settings.target == "judges" or self.learns_spread:
            self.columns += ("judges",)

    def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
        """Features [B, C] -> ``mean``, ``logvar`` and, where it is learnt, ``logspread`` [B], in network units."""
        hidden = jax.nn.relu(self.fch(jax.nn.relu(self.fc1(features))))
        if self.settings.model_error == "one":
            logvar = jnp.broadcast_to(self.logvar(), len(features))
        else:
            logvar = self.fc2_logvar(hidden)[:, 0]
        outputs = {"mean": self.fc2_mean(hidden)[:, 0], "logvar": logvar}
        if self.learns_spread:
            outputs["logspread"] = self.fc2_spread(hidden)[:, 0]
        return outputs

    def distribution(self, outputs: dict[str, jax.Array], batch: Mapping[str, jax.Array]) -> ScoreDistribution:
        """The predicted final score; DAE-MT reads ``difficulty`` [B] from ``batch``."""
        mean = self.offset[...] + self.scale[...] * outputs["mean"]
        # The released losses push the log variance down without end; below this sigma would round to 0.
        variance = jnp.exp(jnp.maximum(outputs["logvar"], -60.0))
        # A floor in quadrature keeps a gradient everywhere, unlike a maximum.
        variance = jnp.square(self.scale[...]) * (variance + self.settings.sigma_floor**2)
        if self.learns_spread:
            variance = variance + MIDDLE_THREE_VARIANCE * self.mark_variance(outputs)
        sigma = jnp.sqrt(variance)
        if self.times_difficulty:
            mean, sigma = mean * batch["difficulty"], sigma * batch["difficulty"]
        return ScoreDistribution(mean, sigma)

    def mark_variance(self, outputs: dict[str, jax.Array]) -> jax.Array:
        """The predicted variance of one judge's mark [B], in marks squared."""
        # The three marks' sum has the unit `scale`, one mark a third of it.
        return _LEAST_MARK_VARIANCE + jnp.square(self.scale[...] / 3) * jnp.exp(outputs["logspread"])

    def target(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """What the loss compares with: [B] score points."""
        if self.settings.target == "judges":
            return middle_three(batch["judges"]) * batch["difficulty"]
        return batch["score"]

    def loss(
        self,
        outputs: dict[str, jax.Array],
        batch: Mapping[str, jax.Array],
        key: jax.Array,
        progress: jax.Array,
    ) -> jax.Array:
        """Loss per example [B]."""
        predicted = self.distribution(outputs, batch)
        residual = (self.target(batch) - predicted.mean) / self.unit[...]
        sigma = predicted.sigma / self.unit[...]
        if self.settings.loss.startswith("released"):
            return sampled_loss(residual, sigma, self.settings, key)
        loss = likelihood_loss(residual, jnp.square(sigma), self.settings, progress)
        if self.learns_spread:
            variance = self.mark_variance(outputs)
            observed = jnp.var(batch["judges"], axis=-1, ddof=1)
            loss = loss + self.settings.spread_weight * 0.5 * (jnp.log(variance) + observed / variance)
        return loss


def make_dae(features: int, settings: HeadConfig, labels: Labels | None, rngs: nnx.Rngs) -> DAE:
    """DAE, standardised by the training scores ``labels['score']`` [N] if the settings say so."""
    offset, spread = (0.0, 1.0) if labels is None else location(labels["score"], settings)
    return DAE(features, settings, times_difficulty=False, offset=offset, scale=spread, unit=spread, rngs=rngs)


def make_dae_mt(features: int, settings: HeadConfig, labels: Labels | None, rngs: nnx.Rngs) -> DAE:
    """DAE-MT, standardised by score / difficulty of the training videos.

    Raises:
      DataError: a video has no difficulty, or the judges' marks are needed (``target='judges'``, ``spread_weight``) and
        not there.
    """
    if labels is None:
        return DAE(features, settings, times_difficulty=True, rngs=rngs)
    difficulty = check_difficulty(labels, "dae_mt", "config.head.name=dae")
    for key, needed in (("target=judges", settings.target == "judges"), ("spread_weight", settings.spread_weight)):
        if needed:
            check_marks(labels, settings, f"dae_mt with config.head.{key}")
    offset, spread = location(labels["score"] / difficulty, settings)
    unit = spread * float(difficulty.mean()) if settings.standardise else 1.0
    return DAE(features, settings, times_difficulty=True, offset=offset, scale=spread, unit=unit, rngs=rngs)
