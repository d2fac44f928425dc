"""USDL (Tang et al., "Uncertainty-aware score distribution learning for action quality assessment", CVPR 2020).

The score's distribution over K bins is learnt from a soft label. Linear C -> 256 -> 128 with ReLU, Linear 128 -> K,
softmax (their ``evaluator``); bins are ``config.head.lowest`` to ``highest`` (MTL-AQA: 101 from 0 to 104.5; JIGSAWS: 25
from 6 to 30).

Loss: ``1/K sum_k t_k (log t_k - log p_k)``, torch's KLDivLoss; the soft label t is the normal density at the bins'
positions, centred on the score, of standard deviation ``config.head.label_std`` bins, with sum 1.

The published score is that of the likeliest bin (``config.evaluate.point=mode``). Where the network is sure, the spread
of p is the soft label's and not the error's: sigma is a width to rely on only after recalibration.

Shapes: features [B, C]; output ``logits`` [B, K].
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.models.heads.base import Labels
from aqa_jax.models.heads.labels import check_bins
from aqa_jax.models.layers import Linear
from aqa_jax.models.scores import ScoreDistribution, of_pmf


class Evaluator(nnx.Module):
    """The multilayer perceptron before a softmax. Layers carry the originals' names."""

    def __init__(self, features: int, settings: HeadConfig, rngs: nnx.Rngs):
        """Makes the layers for C = ``features``."""
        first, second = settings.hidden
        self.layer1 = Linear(features, first, rngs)
        self.layer2 = Linear(first, second, rngs)
        self.layer3 = Linear(second, settings.bins, rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        """[B, C] -> logits [B, K]."""
        return self.layer3(jax.nn.relu(self.layer2(jax.nn.relu(self.layer1(features)))))


class USDL(nnx.Module):
    """The head. It speaks score points: nothing is standardised, nothing is learnt from the training labels."""

    columns: tuple[str, ...] = ("score",)

    def __init__(self, features: int, settings: HeadConfig, rngs: nnx.Rngs):
        """Makes the evaluator for C = ``features``."""
        self.evaluator = Evaluator(features, settings, rngs)
        self.settings = settings

    def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
        """Features [B, C] -> ``logits`` [B, K]."""
        return {"logits": self.evaluator(features)}

    def distribution(self, outputs: dict[str, jax.Array], batch: Mapping[str, jax.Array]) -> ScoreDistribution:
        """The predicted scores [B], with the probabilities of the bins; nothing is read from ``batch``."""
        logits = outputs["logits"]
        bins = bin_values(self.settings)
        return of_pmf(jnp.broadcast_to(bins, logits.shape), jax.nn.softmax(logits), bins[logits.argmax(-1)])

    def loss(
        self,
        outputs: dict[str, jax.Array],
        batch: Mapping[str, jax.Array],
        key: jax.Array,
        progress: jax.Array,
    ) -> jax.Array:
        """Loss per example [B]."""
        return kl_divergence(outputs["logits"], batch["score"], self.settings)


def bin_values(settings: HeadConfig) -> jax.Array:
    """Scores (marks) of the bins: [K]."""
    return jnp.linspace(settings.lowest, settings.highest, settings.bins, dtype=jnp.float32)


def log_soft_label(scores: jax.Array, settings: HeadConfig) -> jax.Array:
    """Logarithms of the soft labels of ``scores`` [...]: [..., K]."""
    position = (scores - settings.lowest) * ((settings.bins - 1) / (settings.highest - settings.lowest))
    bins = jnp.arange(settings.bins, dtype=jnp.float32).reshape((1,) * scores.ndim + (settings.bins,))
    # The normal density's factor cancels in the normalisation.
    return jax.nn.log_softmax(-jnp.square((bins - position[..., None]) / settings.label_std) / 2)


def kl_divergence(logits: jax.Array, scores: jax.Array, settings: HeadConfig) -> jax.Array:
    """Mean over the bins of ``t (log t - log p)``: logits [..., K], scores [...] -> [...]."""
    log_label = log_soft_label(scores, settings)
    return (jnp.exp(log_label) * (log_label - jax.nn.log_softmax(logits))).mean(-1)


def make_usdl(features: int, settings: HeadConfig, labels: Labels | None, rngs: nnx.Rngs) -> USDL:
    """The head for training scores ``labels['score']`` [N].

    Raises:
      DataError: the bins do not suit the scores.
    """
    if labels is not None:
        check_bins(labels["score"], settings, "scores")
    return USDL(features, settings, rngs)
