"""CoRe (Yu et al., "Group-aware contrastive regression for action quality assessment", ICCV 2021; yuxumin/CoRe).

A video is scored relative to exemplars (:mod:`aqa_jax.models.heads.exemplars`). GART, the group-aware regression tree,
sorts the relative score into one of L = 2^(depth-1) intervals, its leaves, by binary decisions, and says where in the
interval it lies. The positive leaves hold equal counts of the training pairs' absolute relative scores; the negative
ones mirror them.

Loss of a pair: ``-log p(leaf of delta) + (t - position of delta in its leaf)^2`` with t that leaf's output. Published
rule: the leaf of the largest p, ``left + width t``; the mode here. The mean is the expectation over the leaves, and
sigma that of the leaves' mixture, each as wide as the training pairs in it are spread.

Shapes: Linear 2C+1 -> 256, ReLU; level d < depth-1 has 2^d nodes, each with Linear 256 -> 2 (log softmax: left or
right) and Linear 256 -> 2 x 256, ReLU; each leaf Linear 256 -> 1. Outputs ``logprob``, ``position`` [N, L].
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.models.heads.base import Constant, Labels
from aqa_jax.models.heads.exemplars import ExemplarHead, chosen_exemplars, relative_scores, training_scores
from aqa_jax.models.layers import Linear, StackedLinear
from aqa_jax.models.scores import ScoreDistribution


class CoRe(ExemplarHead):
    """The head. Layers carry the original's names, ``feature_layers.1`` as ``feature_layers_1``."""

    def __init__(self, features: int, settings: HeadConfig, rngs: nnx.Rngs):
        """Makes the layers; intervals and exemplars are filled in by :func:`make_core`."""
        super().__init__(features, settings)
        self.levels, hidden = settings.depth - 1, settings.hidden[0]
        self.first_layer = Linear(2 * features + 1, hidden, rngs)
        for level in range(self.levels):
            setattr(self, f"feature_layers_{level}", StackedLinear(2**level, hidden, 2 * hidden, rngs))
            setattr(self, f"clf_layers_{level}", StackedLinear(2**level, hidden, 2, rngs))
        leaves = 2**self.levels
        self.reg_layer = StackedLinear(leaves, hidden, 1, rngs)
        # Left and right end of each leaf, and the spread of the training pairs within it.
        self.intervals = Constant(jnp.zeros((leaves, 2)))
        self.spread = Constant(jnp.zeros(leaves))
        self.floor = Constant(jnp.float32(0))

    def pair_outputs(self, pairs: jax.Array) -> dict[str, jax.Array]:
        """Pair inputs [N, 2C + 1] -> each leaf's log probability and predicted position [N, L]."""
        size = len(pairs)
        nodes = jax.nn.relu(self.first_layer(pairs))[:, None]
        logprob = jnp.zeros((size, 1))
        for level in range(self.levels):
            branches = jax.nn.log_softmax(getattr(self, f"clf_layers_{level}")(nodes), axis=-1)
            logprob = (logprob[..., None] + branches).reshape(size, -1)
            nodes = jax.nn.relu(getattr(self, f"feature_layers_{level}")(nodes)).reshape(size, 2 ** (level + 1), -1)
        return {"logprob": logprob, "position": self.reg_layer(nodes)[..., 0]}

    def pair_loss(
        self, outputs: dict[str, jax.Array], delta: jax.Array, key: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """Negative log likelihood of the leaf and squared error of the position in it, [N]."""
        leaf, position = leaf_of(delta, self.intervals[...])
        logprob, predicted = (
            jnp.take_along_axis(outputs[name], leaf[:, None], axis=1)[:, 0] for name in ("logprob", "position")
        )
        return jnp.square(predicted - position) - logprob

    def pair_distribution(self, outputs: dict[str, jax.Array]) -> ScoreDistribution:
        """The relative score [N]; its mode is the published rule's."""
        values = self._values(outputs["position"])
        probability = jnp.exp(outputs["logprob"])
        mean = (probability * values).sum(1)
        within = jnp.square(self.spread[...])[None]
        variance = (probability * (jnp.square(values - mean[:, None]) + within)).sum(1)
        best = jnp.argmax(outputs["logprob"], axis=1)
        mode = jnp.take_along_axis(values, best[:, None], axis=1)[:, 0]
        return ScoreDistribution(mean, jnp.sqrt(variance + jnp.square(self.floor[...])), mode)

    def _values(self, position: jax.Array) -> jax.Array:
        """Positions in the leaves -> relative scores, [N, L]."""
        left, width = _ends(self.intervals[...])
        return left[None] + position * width[None]


def _ends(intervals: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Left end and width of each leaf [L]; in a leaf without width a position is a distance from its end."""
    left, width = intervals[:, 0], intervals[:, 1] - intervals[:, 0]
    return left, jnp.where(width > 0, width, 1.0)


def leaf_of(delta: jax.Array, intervals: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The leaf of each relative score, int [N], and its position there, 0 to 1 from left to right, [N].

    A leaf holds its end that is nearer to 0 and not the other; what lies beyond all leaves belongs to the outermost.
    """
    half = len(intervals) // 2
    outwards = (jnp.abs(delta)[:, None] >= intervals[None, half + 1 :, 0]).sum(1)
    leaf = jnp.where(delta >= 0, half + outwards, half - 1 - outwards)
    left, width = _ends(intervals)
    return leaf, (delta - left[leaf]) / width[leaf]


def leaf_intervals(relative: np.ndarray, leaves: int, largest: float) -> np.ndarray:
    """Intervals that hold equal counts of absolute relative scores, mirrored: float64 [L, 2], ascending.

    Args:
      relative: absolute relative scores [N], in any order.
      leaves: L, even.
      largest: right end of the last interval.
    """
    half = leaves // 2
    # As the original counts: the k-th bound is the element at k / half of the last index, rounded down.
    index = [int(k / half * (len(relative) - 1)) for k in range(half)]
    bounds = np.append(np.sort(relative)[index], largest)
    positive = np.stack([bounds[:-1], bounds[1:]], 1)
    return np.concatenate([-positive[::-1, ::-1], positive])


def make_core(features: int, settings: HeadConfig, labels: Labels | None, rngs: nnx.Rngs) -> CoRe:
    """CoRe; the training videos' labels give the intervals and the exemplars.

    Raises:
      ConfigError, DataError: see :mod:`aqa_jax.models.heads.exemplars`.
    """
    head = CoRe(features, settings, rngs)
    if labels is None:
        return head
    score = training_scores(labels, settings, "core")
    relative = relative_scores(score, labels["exemplar_key"], settings)
    intervals = leaf_intervals(relative, 2**head.levels, max(settings.score_scale, float(relative.max())))
    head.intervals[...] = jnp.asarray(intervals, jnp.float32)
    head.spread[...] = jnp.asarray(_spread(relative, intervals), jnp.float32)
    head.floor[...] = jnp.float32(settings.sigma_floor * np.std(score))
    head.exemplars.fill(labels, score, chosen_exemplars(labels, settings, rngs))
    return head


def _spread(relative: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Standard deviation of the absolute relative scores [N] in each leaf, mirrored: [L]."""
    half = len(intervals) // 2
    leaf = np.searchsorted(intervals[half + 1 :, 0], relative, side="right")
    positive = [float(np.std(relative[leaf == k])) if (leaf == k).any() else 0.0 for k in range(half)]
    return np.array(positive[::-1] + positive)
