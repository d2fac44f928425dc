"""From a panel's marks to a score: diving's middle three of seven, or the sum of JIGSAWS's six items."""

import jax
import jax.numpy as jnp

from aqa_jax.config_keys import HeadConfig

MEMBERS = {"middle3": 7, "sum": 6}
"""Marks of a panel, by the config's name."""

MIDDLE_THREE_VARIANCE = 1.5713
"""Variance of the sum of the middle three of seven independent marks of variance 1: order statistics of the normal
distribution, integrated numerically."""


def middle_three(marks: jax.Array) -> jax.Array:
    """The sum of the middle three of seven marks [B, 7] -> [B]: diving's rule."""
    return jnp.sort(marks, axis=-1)[..., 2:5].sum(-1)


def panel_score(marks: jax.Array, panel: str) -> jax.Array:
    """Marks [B, J] -> what the ``panel`` makes of them [B], before a difficulty."""
    return middle_three(marks) if panel == "middle3" else marks.sum(-1)


def multiplies(settings: HeadConfig) -> bool:
    """Whether the panel's score is multiplied by a difficulty: an added rating has none."""
    return settings.times_difficulty and settings.panel == "middle3"
