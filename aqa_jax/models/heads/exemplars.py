"""What the heads that score a video relative to training videos share: the exemplars, the pairs, the votes.

A pair is (exemplar e, query q). The network sees ``[feature of e, feature of q, score of e / theta]``, 2C + 1 numbers,
and predicts the relative score ``delta = score of q - score of e``; with ``times_difficulty`` every score here is the
judges' part, score / difficulty. In training the pairs are those of the batch: each example is compared with every
other one that has the same ``exemplar_key``. To predict, training videos with the query's key vote, and the prediction
is the mean of ``score of e + delta``, times the query's difficulty.

Shapes: B queries, V votes, C features, M places of the bank.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.models.heads.base import Constant, Labels
from aqa_jax.models.scores import ScoreDistribution

KEY_TOLERANCE = 1e-3
"""Keys that differ by less are the same: difficulties have one decimal, other keys are whole numbers."""

# Of a larger group of training videos with one key, this many stand for all when relative scores are counted.
_MOST_COMPARED = 4000


class Exemplars(nnx.Module):
    """The bank: training videos that vote, each feature computed once.

    Constants, saved with every checkpoint: a restored model scores without its training videos.
    """

    def __init__(self, places: int, features: int):
        """An empty bank of ``places`` x ``features``."""
        self.features = Constant(jnp.zeros((places, features)))
        self.score = Constant(jnp.zeros(places))
        self.key = Constant(jnp.zeros(places))
        # Rows of the training table; -1: an empty place.
        self.row = Constant(jnp.full(places, -1, jnp.int32))

    def fill(self, labels: Labels, score: np.ndarray, chosen: np.ndarray) -> None:
        """Puts the videos ``chosen`` (indices into ``labels``) into the first places; their features are zeros still.

        Args:
          labels: ``exemplar_key`` and ``row`` [N].
          score: [N], in the unit of relative scores.
          chosen: int [K], K at most M, first the one that votes first.
        """
        for constant, values in ((self.score, score), (self.key, labels["exemplar_key"]), (self.row, labels["row"])):
            constant[...] = constant[...].at[: len(chosen)].set(jnp.asarray(values[chosen], constant.dtype))

    def voters(self, key: jax.Array, votes: int) -> tuple[jax.Array, jax.Array]:
        """The first ``votes`` places with each ``key`` [B]: int [B, V] and a mask [B, V] of those that there are."""
        places = self.key.shape[0]
        same = (jnp.abs(key[:, None] - self.key[...][None]) < KEY_TOLERANCE) & (self.row[...] >= 0)[None]
        # Earlier places first; no two are equal, so the order does not depend on how ties are broken.
        priority = jnp.where(same, places - jnp.arange(places, dtype=jnp.float32)[None], 0.0)
        found, index = jax.lax.top_k(priority, min(votes, places))
        return index, found > 0


class ExemplarHead(nnx.Module):
    """A head of relative scores; a method says how a pair's relative score is predicted and learnt."""

    def __init__(self, features: int, settings: HeadConfig):
        """An empty bank for ``features`` numbers a video."""
        self.exemplars = Exemplars(settings.pool, features)
        self.settings = settings
        self.columns: tuple[str, ...] = ("score", "exemplar_key")
        if settings.times_difficulty or settings.exemplars_by == "difficulty":
            self.columns += ("difficulty",)

    def pair_outputs(self, pairs: jax.Array) -> dict[str, jax.Array]:
        """Pair inputs [N, 2C + 1] -> the network's outputs [N, ...]."""
        raise NotImplementedError

    def pair_loss(
        self, outputs: dict[str, jax.Array], delta: jax.Array, key: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """Loss [N] of pairs whose relative score is ``delta`` [N]."""
        raise NotImplementedError

    def pair_distribution(self, outputs: dict[str, jax.Array]) -> ScoreDistribution:
        """The predicted relative scores [N]."""
        raise NotImplementedError

    def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
        """Features [B, C] as they are: what they are compared with is known to ``loss`` and ``distribution``."""
        return {"features": features}

    def loss(
        self,
        outputs: dict[str, jax.Array],
        batch: Mapping[str, jax.Array],
        key: jax.Array,
        progress: jax.Array,
    ) -> jax.Array:
        """Mean loss of each query's pairs in the batch [B]; 0 for one without a pair."""
        score, (pairs, mask) = self._score(batch), self._pairs_in_batch(outputs["features"], batch)
        delta = (score[:, None] - score[None]).reshape(-1)
        losses = self.pair_loss(self.pair_outputs(pairs), delta, key, progress).reshape(mask.shape)
        return jnp.where(mask, losses, 0.0).sum(1) / jnp.maximum(mask.sum(1), 1)

    def distribution(self, outputs: dict[str, jax.Array], batch: Mapping[str, jax.Array]) -> ScoreDistribution:
        """The bank's vote on each query, from ``exemplar_key`` [B] and, where scores need it, ``difficulty`` [B]."""
        bank, features = self.exemplars, outputs["features"]
        index, mask = bank.voters(batch["exemplar_key"], self.settings.exemplars)
        score = bank.score[...][index]
        queries = jnp.broadcast_to(features[:, None], (*index.shape, features.shape[1]))
        pairs = self._pairs(bank.features[...][index], queries, score)
        predicted = self._voted(pairs, score, mask, batch)
        # A video that nothing votes on has no score: NaN is refused by whoever reads it.
        return jax.tree.map(lambda values: jnp.where(mask.any(1), values, jnp.nan), predicted)

    def training_distribution(self, outputs: dict[str, jax.Array], batch: Mapping[str, jax.Array]) -> ScoreDistribution:
        """The vote of the other examples of the batch: while weights change, the bank is behind them."""
        pairs, mask = self._pairs_in_batch(outputs["features"], batch)
        return self._voted(pairs, jnp.broadcast_to(self._score(batch)[None], mask.shape), mask, batch)

    def _score(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        return batch["score"] / batch["difficulty"] if self.settings.times_difficulty else batch["score"]

    def _pairs(self, exemplars: jax.Array, queries: jax.Array, score: jax.Array) -> jax.Array:
        """[..., C], [..., C] and [...] -> pair inputs [N, 2C + 1]."""
        joined = jnp.concatenate([exemplars, queries, score[..., None] / self.settings.score_scale], -1)
        return joined.reshape(-1, joined.shape[-1])

    def _pairs_in_batch(self, features: jax.Array, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """All B x B pairs, query by exemplar, and which of them count [B, B]."""
        size = len(features)
        shape = (size, size, features.shape[1])
        exemplars, queries = (jnp.broadcast_to(x, shape) for x in (features[None], features[:, None]))
        pairs = self._pairs(exemplars, queries, jnp.broadcast_to(self._score(batch)[None], shape[:2]))
        key = batch["exemplar_key"]
        return pairs, (jnp.abs(key[:, None] - key[None]) < KEY_TOLERANCE) & ~jnp.eye(size, dtype=bool)

    def _voted(
        self, pairs: jax.Array, score: jax.Array, mask: jax.Array, batch: Mapping[str, jax.Array]
    ) -> ScoreDistribution:
        """From pairs [B * V, 2C + 1] of exemplars with scores [B, V] to the mean of the votes that ``mask`` counts.

        The variance is the votes' own, averaged, and that between the votes: an even mixture's.
        """
        relative = self.pair_distribution(self.pair_outputs(pairs))
        weight = mask / jnp.maximum(mask.sum(1, keepdims=True), 1)
        votes = score + relative.mean.reshape(mask.shape)
        mean = (weight * votes).sum(1)
        mode = (weight * (score + relative.most_likely.reshape(mask.shape))).sum(1)
        variance = jnp.square(relative.sigma).reshape(mask.shape) + jnp.square(votes - mean[:, None])
        sigma = jnp.sqrt((weight * variance).sum(1))
        factor = batch["difficulty"] if self.settings.times_difficulty else jnp.ones_like(mean)
        return ScoreDistribution(mean * factor, sigma * factor, mode * factor)


def training_scores(labels: Labels, settings: HeadConfig, name: str) -> np.ndarray:
    """The training videos' scores in the unit of relative scores, float64 [N].

    Raises:
      DataError: a difficulty is missing, or all scores are the same.
    """
    score = np.asarray(labels["score"], np.float64)
    if settings.times_difficulty:
        difficulty = labels.get("difficulty", np.full(len(score), np.nan))
        missing = int(np.sum(~(difficulty > 0)))
        if missing:
            raise DataError(
                f"{name} multiplies by the difficulty, but {missing} of {len(score)} training videos have none: set "
                "config.head.times_difficulty=False (and config.head.exemplars_by=random), or use a dataset with "
                "difficulties."
            )
        score = score / difficulty
    if not np.ptp(score) > 0:
        raise DataError("All training scores are the same: there is nothing to learn from them.")
    return score


def chosen_exemplars(labels: Labels, settings: HeadConfig, rngs: nnx.Rngs) -> np.ndarray:
    """The training videos that vote: ``config.head.exemplars`` of each key, or all where there are fewer.

    Returns:
      Indices into ``labels``, int [K], in an order drawn from ``rngs``; the first of a key votes first.

    Raises:
      ConfigError: they are more than ``config.head.pool``.
    """
    keys = np.asarray(labels["exemplar_key"])
    drawn = rngs.params()
    # Only shapes matter while they are asked for.
    seed = 0 if isinstance(drawn, jax.core.Tracer) else np.asarray(jax.random.key_data(drawn)).ravel()
    order = np.random.default_rng(seed).permutation(len(keys))
    taken: dict[float, int] = {}
    chosen = []
    for i in order:
        taken[keys[i]] = taken.get(keys[i], 0) + 1
        if taken[keys[i]] <= settings.exemplars:
            chosen.append(i)
    if len(chosen) > settings.pool:
        raise ConfigError(
            f"config.head.pool={settings.pool} is too small for config.head.exemplars={settings.exemplars} of each of "
            f"{len(taken)} kinds of videos (config.head.exemplars_by={settings.exemplars_by}): set "
            f"config.head.pool={len(chosen)} or more, or fewer exemplars."
        )
    return np.array(chosen, np.int64)


def relative_scores(score: np.ndarray, keys: np.ndarray, settings: HeadConfig) -> np.ndarray:
    """Absolute differences of the scores [N] of all pairs of training videos with one key, each pair once.

    Raises:
      DataError: there is no such pair, or the scores of every pair are equal.
    """
    parts = []
    for key in np.unique(keys):
        group = score[keys == key][:_MOST_COMPARED]
        first, second = np.triu_indices(len(group), 1)
        parts.append(np.abs(group[first] - group[second]))
    found = np.concatenate(parts)
    if not found.any():
        raise DataError(
            f"No two training videos with the same {settings.exemplars_by} have different scores: there is nothing to "
            "compare. Set config.head.exemplars_by=random to compare any two."
        )
    return found
