"""What every scoring head returns: a distribution over scores, in score points."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy import stats


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ScoreDistribution:
    """A normal distribution for each example of a batch.

    Attributes:
      mean: [B], score points.
      sigma: [B], standard deviation in score points, positive.
    """

    mean: jax.Array
    sigma: jax.Array

    def quantile(self, p: float | jax.Array) -> jax.Array:
        """Scores below which a share ``p`` of the distribution lies; [B] for a scalar ``p``, [P, B] for a [P] one."""
        z = stats.norm.ppf(jnp.asarray(p, self.mean.dtype))
        if z.ndim == 0:
            return self.mean + z * self.sigma
        return self.mean[None] + z[:, None] * self.sigma[None]

    def interval(self, level: float) -> tuple[jax.Array, jax.Array]:
        """The central interval that holds a share ``level`` of the distribution: two [B] arrays."""
        return self.quantile(0.5 - level / 2), self.quantile(0.5 + level / 2)

    def cdf(self, score: jax.Array) -> jax.Array:
        """Probability of a score of at most ``score`` ([B] or scalar): [B]."""
        return stats.norm.cdf(score, self.mean, self.sigma)

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """``n`` draws for each example: [n, B]. DAE's ``z = mu + sigma * eps``."""
        return self.mean[None] + self.sigma[None] * jax.random.normal(key, (n, *self.mean.shape), self.mean.dtype)
