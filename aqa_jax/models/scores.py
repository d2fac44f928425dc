"""What every scoring head returns: a distribution over scores, in score points."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy import stats


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ScoreDistribution:
    """A distribution for each example of a batch: normal, or given by probabilities of certain scores.

    Attributes:
      mean: [B], score points.
      sigma: [B], standard deviation in score points, positive.
      mode: [B], the score that the method itself would predict, where that is not the mean.
      support: [B, K], ascending scores, where the head predicts their probabilities; None: normal.
      pmf: [B, K], the probabilities of ``support``; each row's sum is 1.
    """

    mean: jax.Array
    sigma: jax.Array
    mode: jax.Array | None = None
    support: jax.Array | None = None
    pmf: jax.Array | None = None

    @property
    def most_likely(self) -> jax.Array:
        """``mode``, or the mean where there is none: [B]."""
        return self.mean if self.mode is None else self.mode

    def quantile(self, p: float | jax.Array) -> jax.Array:
        """Scores below which a share ``p`` of the distribution lies; [B] for a scalar ``p``, [P, B] for a [P] one.

        Between the scores of a ``support`` the distribution function is taken as linear.
        """
        p = jnp.asarray(p, self.mean.dtype)
        if self.support is not None:
            return self._quantile_of_pmf(p)
        z = stats.norm.ppf(p)
        if z.ndim == 0:
            return self.mean + z * self.sigma
        return self.mean[None] + z[:, None] * self.sigma[None]

    def interval(self, level: float) -> tuple[jax.Array, jax.Array]:
        """The central interval that holds a share ``level`` of the distribution: two [B] arrays."""
        return self.quantile(0.5 - level / 2), self.quantile(0.5 + level / 2)

    def intervals(self, levels: Sequence[float]) -> jax.Array:
        """Low and high of the central intervals that hold shares ``levels`` of the distribution: [B, L, 2]."""
        limits = self.quantile(jnp.array([[0.5 - level / 2, 0.5 + level / 2] for level in levels]).reshape(-1))
        return limits.reshape(len(levels), 2, -1).transpose(2, 0, 1)

    def cdf(self, score: jax.Array) -> jax.Array:
        """Probability of a score of at most ``score`` ([B] or scalar): [B]."""
        if self.support is None:
            return stats.norm.cdf(score, self.mean, self.sigma)
        score = jnp.broadcast_to(score, self.mean.shape)
        edges, cumulative = self._edges()
        return jax.vmap(jnp.interp)(score, edges, cumulative)

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """``n`` draws for each example: [n, B]. A normal one's are DAE's ``z = mu + sigma * eps``."""
        if self.support is None:
            return self.mean[None] + self.sigma[None] * jax.random.normal(key, (n, *self.mean.shape), self.mean.dtype)
        p = jax.random.uniform(key, (n, *self.mean.shape), self.mean.dtype)
        edges, cumulative = self._edges()
        return jax.vmap(jnp.interp, (1, 0, 0), 1)(p, cumulative, edges)

    def _edges(self) -> tuple[jax.Array, jax.Array]:
        # A score's probability is spread evenly over the stretch that is nearer to it than to its neighbours.
        support, pmf = self.support, self.pmf
        assert support is not None and pmf is not None
        middle = (support[:, 1:] + support[:, :-1]) / 2
        first, last = support[:, :1] * 2 - middle[:, :1], support[:, -1:] * 2 - middle[:, -1:]
        edges = jnp.concatenate([first, middle, last], -1)
        cumulative = jnp.cumsum(pmf, -1)
        return edges, jnp.concatenate([jnp.zeros_like(cumulative[:, :1]), cumulative / cumulative[:, -1:]], -1)

    def _quantile_of_pmf(self, p: jax.Array) -> jax.Array:
        edges, cumulative = self._edges()
        # Stretches without probability have no inverse: a slope too small to matter keeps it unique.
        rising = cumulative + jnp.arange(cumulative.shape[-1], dtype=cumulative.dtype)[None] * 1e-7
        inverse = jax.vmap(jnp.interp, (None, 0, 0))
        scores = inverse(jnp.atleast_1d(p) * rising.max(), rising, edges)
        return scores[:, 0] if p.ndim == 0 else scores.T


def of_pmf(support: jax.Array, pmf: jax.Array, mode: jax.Array | None = None) -> ScoreDistribution:
    """The distribution with probabilities ``pmf`` [B, K] of the scores ``support`` [B, K]."""
    mean = (pmf * support).sum(-1)
    variance = (pmf * jnp.square(support - mean[:, None])).sum(-1)
    # The width of a bin is a lower bound: labels within it are not told apart.
    width = (support[:, -1] - support[:, 0]) / (support.shape[-1] - 1)
    return ScoreDistribution(mean, jnp.sqrt(variance + jnp.square(width) / 12), mode, support, pmf)


def combined(parts: ScoreDistribution) -> ScoreDistribution:
    """One distribution with the first two moments of an even mixture.

    Args:
      parts: with a leading axis of the parts: [K, B] for mean, sigma and mode.

    Returns:
      [B], normal: mean of the means; variance is the mean variance and the variance of the means (Lakshminarayanan et
      al. 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles").
    """
    mean = parts.mean.mean(0)
    variance = jnp.square(parts.sigma).mean(0) + jnp.square(parts.mean - mean[None]).mean(0)
    mode = None if parts.mode is None else parts.mode.mean(0)
    return ScoreDistribution(mean, jnp.sqrt(variance), mode)
