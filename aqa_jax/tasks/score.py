"""From a video to a distribution over its score."""

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.config import Config
from aqa_jax.data.sampling import clip_window
from aqa_jax.evaluate.calibration import LEVELS
from aqa_jax.evaluate.metrics import score_metrics
from aqa_jax.models.heads import head_maker
from aqa_jax.models.score_model import ClipModel
from aqa_jax.models.scores import ScoreDistribution, combined
from aqa_jax.tasks.base import Arrays, Batch, compute_dtype, make_backbone, training_mode


class ScoreTask:
    """Supervised scoring by the head that the config names."""

    monitor = "rho"

    def __init__(self, config: Config):
        """Reads what it needs from ``config``."""
        self.config = config
        self.window = clip_window(config.data)
        self._make_head = head_maker(config.head.name)
        # The head itself knows what it reads; its number of features does not matter for that.
        self.columns = nnx.eval_shape(lambda: self._make_head(1, config.head, None, nnx.Rngs(0))).columns

    def make_model(self, labels: Arrays | None, rngs: nnx.Rngs, axis_name: str | None) -> ClipModel:
        """I3D and head."""
        i3d = make_backbone(self.config, rngs, axis_name)
        head = self._make_head(i3d.feature_size, self.config.head, labels, rngs)
        return ClipModel(i3d, head, self.config.data.normalisation, compute_dtype(self.config))

    def loss(
        self, model: ClipModel, batch: Batch, key: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The head's loss [B]; logged beside it the squared error and sigma, in score points."""
        features = model.features(batch["video"], training_mode(self.config), self.config.train.clip_chunk)
        drop_key, loss_key = jax.random.split(key)
        if self.config.head.dropout:
            features = dropped(features, self.config.head.dropout, drop_key)
        outputs = model.head(features)
        losses = model.head.loss(outputs, batch, loss_key, progress)
        # For the log alone: some distributions are dear to differentiate.
        # Heads of exemplars compare within the batch, while their exemplars' features are behind the weights.
        predict = getattr(model.head, "training_distribution", model.head.distribution)
        predicted = predict(jax.lax.stop_gradient(outputs), batch)
        return losses, {
            "squared_error": jnp.square(predicted.mean - batch["score"]),
            "sigma": predicted.sigma,
        }

    def distribution(self, model: ClipModel, batch: Batch) -> ScoreDistribution:
        """The predicted scores [B]."""
        return self.distribution_of(model, model.features(batch["video"]), batch)

    def distribution_of(self, model: ClipModel, features: jax.Array, batch: Batch) -> ScoreDistribution:
        """The same from features [B, C]: of one pass, or of several with dropout (Gal & Ghahramani 2016)."""

        def one(values: jax.Array) -> ScoreDistribution:
            return model.head.distribution(model.head(values), batch)

        samples, rate = self.config.evaluate.mc_samples, self.config.head.dropout
        if not samples:
            return one(features)
        keys = jax.random.split(jax.random.key(self.config.seed), samples)
        # The same masks for every video, so that a score does not depend on the batch it was made in.
        return combined(jax.vmap(lambda key: one(dropped(features, rate, key, shared=True)))(keys))

    def outputs(self, model: ClipModel, batch: Batch) -> dict[str, jax.Array]:
        """What evaluation keeps of each video.

        Returns:
          ``point`` (what ``config.evaluate.point`` says is the prediction), ``mean`` and ``sigma`` [B], ``intervals``
          [B, L, 2] (low and high of the central intervals at ``evaluate.calibration.LEVELS``), all in score points;
          ``features`` [B, C] and ``early`` [B, E] of :meth:`ClipModel.described`.
        """
        features, early = model.described(batch["video"])
        predicted = self.distribution_of(model, features, batch)
        point = predicted.mean
        if self.config.evaluate.point == "mode":
            point = predicted.most_likely
        elif self.config.evaluate.point == "sample":
            # One draw per video that depends on the video alone, not on the batch it came in.
            keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(self.config.seed), batch["row"])
            point = point + predicted.sigma * jax.vmap(jax.random.normal)(keys)
        intervals = predicted.intervals([level / 100 for level in LEVELS])
        return {
            "point": point, "mean": predicted.mean, "sigma": predicted.sigma, "intervals": intervals,
            "features": features, "early": early,
        }  # fmt: skip

    def report(self, outputs: Arrays, labels: Arrays, *, bootstrap: int) -> dict:
        """See :func:`aqa_jax.evaluate.metrics.score_metrics`."""
        return score_metrics(
            labels["score"], outputs["mean"], outputs["sigma"], point=outputs["point"], intervals=outputs["intervals"],
            constant_sigma=outputs.get("constant_sigma"), bootstrap=bootstrap, seed=self.config.seed,
        )  # fmt: skip


def dropped(features: jax.Array, rate: float, key: jax.Array, *, shared: bool = False) -> jax.Array:
    """Features [B, C] with a share ``rate`` of them set to 0 and the others scaled up; ``shared``: the same ones."""
    shape = features[:1].shape if shared else features.shape
    kept = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(kept, features / (1 - rate), 0.0)
