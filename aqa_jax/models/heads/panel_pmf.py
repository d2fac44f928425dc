"""The exact distribution of what a panel's independent marks add up to."""

import jax
import jax.numpy as jnp


def sum_pmf(pmf: jax.Array) -> jax.Array:
    """Probabilities of the sum of independent marks.

    Args:
      pmf: [J, K], each judge's probabilities of the marks 0 to K - 1.

    Returns:
      [J (K - 1) + 1], of the sums from 0 on.
    """
    total = pmf[0]
    for judge in pmf[1:]:
        total = _diagonal_sums(total[:, None] * judge[None])
    return total


def middle_three_pmf(pmf: jax.Array) -> jax.Array:
    """Probabilities of the sum of the middle three of seven independent marks.

    Marks are ordered by value, and equal ones by judge, so that exactly one judge m gave the fourth; let b be its mark.
    The others are below (in this order) or above, three each: the coefficient of z^3 of ``prod_j (z l_j + u_j)``, with
    l_j the probability that judge j is below with a mark of at most a, and u_j that j is above with one of at least c,
    is that of b being in the middle, the third mark at most a and the fifth at least c. Differences in a and c give the
    joint distribution of the three marks.

    Args:
      pmf: [7, K], each judge's probabilities of the marks 0 to K - 1.

    Returns:
      [3 K - 2], of the sums from 0 on.
    """
    judges, marks = pmf.shape
    # less[j, k] is the probability of a mark below k.
    less = jnp.concatenate([jnp.zeros((judges, 1), pmf.dtype), jnp.cumsum(pmf, -1)], -1)
    value = jnp.arange(marks)
    middle, other = value[:, None], value[None]

    def with_middle(m: jax.Array) -> jax.Array:
        ways = [jnp.ones((1, 1, 1), pmf.dtype)] + [jnp.zeros((1, 1, 1), pmf.dtype)] * 3  # of 0 to 3 marks below
        for j in range(judges):
            # An equal mark is below the middle one if its judge comes first.
            tie = middle + (j < m)
            below = less[j][jnp.minimum(other + 1, tie)][:, :, None]  # [b, a, 1]
            above = 1 - less[j][jnp.maximum(other, tie)][:, None]  # [b, 1, c]
            below, above = jnp.where(j == m, 0, below), jnp.where(j == m, 1, above)
            ways = [ways[0] * above] + [ways[n] * above + ways[n - 1] * below for n in (1, 2, 3)]
        return pmf[m][:, None, None] * ways[3]

    joint = jax.lax.map(with_middle, jnp.arange(judges)).sum(0)  # [b, a, c]
    joint = jnp.diff(joint, axis=1, prepend=0.0)
    joint = -jnp.diff(joint, axis=2, append=0.0)
    # Rounding in the differences can leave a probability just below 0.
    total = jnp.maximum(_diagonal_sums(_diagonal_sums(joint)), 0)
    return total / total.sum()


def _diagonal_sums(x: jax.Array) -> jax.Array:
    """[..., R, C] -> [..., R + C - 1]: element (r, c) is counted at r + c."""
    *outer, rows, columns = x.shape
    # Row r of the padded array, cut into rows that are one shorter, lies r further to the right.
    wide = jnp.pad(x, [(0, 0)] * len(outer) + [(0, 0), (0, rows)]).reshape(*outer, -1)
    width = rows + columns - 1
    return wide[..., : rows * width].reshape(*outer, rows, width).sum(-2)
