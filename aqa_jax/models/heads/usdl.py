"""USDL (Tang et al., "Uncertainty-aware score distribution learning for action quality assessment", CVPR 2020).

The score's distribution over K bins is learnt from a soft label. Linear C -> 256 -> 128 with ReLU, Linear 128 -> K,
softmax (their ``evaluator``); bins are ``config.head.lowest`` to ``highest`` (MTL-AQA: 101 from 0 to 104.5; JIGSAWS: 25
from 6 to 30).

Loss: ``1/K sum_k t_k (log t_k - log p_k)``, torch's KLDivLoss; the soft label t is the normal density at the bins'
positions, centred on the score, of standard deviation ``config.head.label_std`` bins, with sum 1.

The published score is that of the likeliest bin (``config.evaluate.point=mode``). The loss is least where p is the mean
of the soft labels that such a video could have had, so p is wider than the scores are: by the soft label. That is taken
out again (:func:`sharpened`) unless ``config.head.sharpen=False``; the likeliest bin stays.

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

# Of the soft label's spread. On features with a known law of noise .2 to .3 gave the best likelihood.
_LEAST_SHARE = 0.3


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
        logits = sharpened(outputs["logits"], self.settings)
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


def sharpened(logits: jax.Array, settings: HeadConfig) -> jax.Array:
    """Logits [..., K] times a factor for each distribution, by which it loses the soft label's variance.

    Not all of it where there is nothing else: less than a share of the label's spread cannot be told from none. Towards
    the ends of the bins a soft label is cut off, and so is the variance that is taken out.
    """
    if not settings.sharpen:
        return logits
    bins = bin_values(settings)
    label_mean, label_variance = _moments(jnp.exp(log_soft_label(bins, settings)), bins)
    mean, variance = _moments(jax.nn.softmax(logits), bins)
    from_label = jnp.interp(mean.ravel(), label_mean, label_variance).reshape(mean.shape)
    left = jnp.maximum(variance - from_label, _LEAST_SHARE**2 * from_label)
    # p^a of a normal density has the variance divided by a. A label in one bin alone has none to take out.
    least = jnp.square(1e-3 * (bins[1] - bins[0]))
    return logits * jnp.maximum((variance + least) / (left + least), 1)[..., None]


def _moments(pmf: jax.Array, bins: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance [...] of probabilities [..., K] of ``bins`` [K]."""
    bins = bins.reshape((1,) * (pmf.ndim - 1) + bins.shape)
    mean = (pmf * bins).sum(-1)
    return mean, (pmf * jnp.square(bins - mean[..., None])).sum(-1)


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
