"""MUSDL (Tang et al., "Uncertainty-aware score distribution learning for action quality assessment", CVPR 2020).

USDL for each judge of a panel (JIGSAWS: each item of the rating): J evaluators C -> 256 -> 128 -> K as in
:mod:`aqa_jax.models.heads.usdl`, whose bins are marks (MTL-AQA: seven judges, 21 bins from 0 to 10; JIGSAWS: six items,
5 bins from 1 to 5). The marks make the score as ``config.head.panel`` says: the sum of the middle three times the
difficulty, or the sum.

Loss: ``sum_j 1/K sum_k t_jk (log t_jk - log p_jk)``, with t_j the soft label of judge j's mark.

The published score is what the judges' likeliest marks make (``config.evaluate.point=mode``). Mean, sigma and
quantiles are those of the score's exact distribution (:mod:`aqa_jax.models.heads.panel_pmf`) if judges err
independently given the video, after each judge's has lost the soft label's spread (``config.head.sharpen``).

Shapes: features [B, C]; output ``logits`` [B, J, K].
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.models.heads.base import Labels
from aqa_jax.models.heads.labels import check_bins, check_difficulty, check_marks
from aqa_jax.models.heads.panel import MEMBERS, multiplies, panel_score
from aqa_jax.models.heads.panel_pmf import middle_three_pmf, sum_pmf
from aqa_jax.models.heads.usdl import Evaluator, bin_values, kl_divergence, sharpened
from aqa_jax.models.scores import ScoreDistribution, of_pmf

_AT_ONCE = 16


class MUSDL(nnx.Module):
    """The head. It speaks marks: nothing is standardised, nothing is learnt from the training labels."""

    def __init__(self, features: int, settings: HeadConfig, rngs: nnx.Rngs):
        """Makes an evaluator for each judge, called ``judge_0`` and so on, for C = ``features``."""
        self.judges = MEMBERS[settings.panel]
        for judge in range(self.judges):
            setattr(self, f"judge_{judge}", Evaluator(features, settings, rngs))
        self.settings = settings
        self.times_difficulty = multiplies(settings)
        self.columns: tuple[str, ...] = ("score", "judges") + ("difficulty",) * self.times_difficulty

    def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
        """Features [B, C] -> ``logits`` [B, J, K]."""
        return {"logits": jnp.stack([getattr(self, f"judge_{j}")(features) for j in range(self.judges)], 1)}

    def distribution(self, outputs: dict[str, jax.Array], batch: Mapping[str, jax.Array]) -> ScoreDistribution:
        """The predicted scores [B] with their probabilities; times ``difficulty`` [B] of ``batch``, where it counts."""
        bins, panel = bin_values(self.settings), self.settings.panel
        logits = sharpened(outputs["logits"], self.settings)
        mode = panel_score(bins[logits.argmax(-1)], panel)
        score_pmf = middle_three_pmf if panel == "middle3" else sum_pmf
        # A few at a time: the middle three of one video take K^3 numbers.
        pmf = jax.lax.map(score_pmf, jax.nn.softmax(logits), batch_size=_AT_ONCE)
        counted = 3 if panel == "middle3" else self.judges
        support = jnp.linspace(counted * bins[0], counted * bins[-1], pmf.shape[-1])
        support = jnp.broadcast_to(support, pmf.shape)
        if self.times_difficulty:
            mode, support = mode * batch["difficulty"], support * batch["difficulty"][:, None]
        return of_pmf(support, pmf, mode)

    def loss(
        self,
        outputs: dict[str, jax.Array],
        batch: Mapping[str, jax.Array],
        key: jax.Array,
        progress: jax.Array,
    ) -> jax.Array:
        """Loss per example [B]; ``judges`` [B, J] are the marks."""
        return kl_divergence(outputs["logits"], batch["judges"], self.settings).sum(-1)


def make_musdl(features: int, settings: HeadConfig, labels: Labels | None, rngs: nnx.Rngs) -> MUSDL:
    """The head for training marks ``labels['judges']`` [N, J].

    Raises:
      DataError: the dataset has no such marks, or no difficulties where they count, or the bins do not suit the marks.
    """
    if labels is not None:
        check_bins(check_marks(labels, settings, "musdl"), settings, "marks")
        if multiplies(settings):
            check_difficulty(labels, "musdl")
    return MUSDL(features, settings, rngs)
