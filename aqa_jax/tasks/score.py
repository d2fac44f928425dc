"""From a video to a distribution over its score."""

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.config import Config
from aqa_jax.evaluate.metrics import score_metrics
from aqa_jax.models.heads import HEADS
from aqa_jax.models.score_model import ClipModel
from aqa_jax.models.scores import ScoreDistribution
from aqa_jax.tasks.base import Arrays, Batch, clip_window, compute_dtype, make_backbone, training_mode


class ScoreTask:
    """Supervised scoring by the head that the config names."""

    monitor = "rho"

    def __init__(self, config: Config):
        """Reads what it needs from ``config``."""
        self.config = config
        self.window = clip_window(config)
        make_head = HEADS[config.head.name]
        # The head itself knows what it reads; its number of features does not matter for that.
        self.columns = nnx.eval_shape(lambda: make_head(1, config.head, None, nnx.Rngs(0))).columns

    def make_model(self, labels: Arrays | None, rngs: nnx.Rngs, axis_name: str | None) -> ClipModel:
        """I3D and head."""
        i3d = make_backbone(self.config, rngs, axis_name)
        head = HEADS[self.config.head.name](i3d.feature_size, self.config.head, labels, rngs)
        return ClipModel(i3d, head, self.config.data.normalisation, compute_dtype(self.config))

    def loss(
        self, model: ClipModel, batch: Batch, key: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The head's loss [B]; logged beside it the squared error and sigma, in score points."""
        outputs = model(batch["video"], training_mode(self.config))
        predicted = model.head.distribution(outputs, batch)
        losses = model.head.loss(outputs, batch, key, progress)
        return losses, {
            "squared_error": jnp.square(predicted.mean - batch["score"]),
            "sigma": predicted.sigma,
        }

    def distribution(self, model: ClipModel, batch: Batch) -> ScoreDistribution:
        """The predicted scores [B]."""
        return model.head.distribution(model(batch["video"], "frozen"), batch)

    def outputs(self, model: ClipModel, batch: Batch) -> dict[str, jax.Array]:
        """``mean`` and ``sigma`` [B] in score points."""
        predicted = self.distribution(model, batch)
        mean = predicted.mean
        if self.config.evaluate.point == "sample":
            # One draw per video that depends on the video alone, not on the batch it came in.
            keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(self.config.seed), batch["row"])
            mean = mean + predicted.sigma * jax.vmap(jax.random.normal)(keys)
        return {"mean": mean, "sigma": predicted.sigma}

    def report(self, outputs: Arrays, labels: Arrays, *, bootstrap: int) -> dict:
        """See :func:`aqa_jax.evaluate.metrics.score_metrics`."""
        return score_metrics(
            labels["score"], outputs["mean"], outputs["sigma"], bootstrap=bootstrap, seed=self.config.seed
        )
