"""Regress the parameters of rendered motion: how the starter backbone is made where nobody has the Kinetics file."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aqa_jax.config import Config
from aqa_jax.data.sampling import clip_window
from aqa_jax.models.heads.base import Constant
from aqa_jax.models.layers import Linear
from aqa_jax.models.score_model import ClipModel
from aqa_jax.tasks.base import Arrays, Batch, compute_dtype, make_backbone, training_mode

_HIDDEN = 128


class MotionHead(nnx.Module):
    """One hidden layer from the mean feature to standardised targets."""

    def __init__(self, features: int, offset: np.ndarray, scale: np.ndarray, rngs: nnx.Rngs):
        """Makes the layers; ``offset`` and ``scale`` [K] standardise the targets."""
        self.hidden = Linear(features, _HIDDEN, rngs)
        self.linear = Linear(_HIDDEN, len(offset), rngs)
        self.offset = Constant(jnp.asarray(offset, jnp.float32))
        self.scale = Constant(jnp.asarray(scale, jnp.float32))

    def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
        """[B, C] -> ``values`` [B, K], standardised."""
        return {"values": self.linear(jax.nn.relu(self.hidden(features)))}


class MotionTask:
    """Mean squared error over standardised columns; a column that is NaN for a video does not count there."""

    monitor = "mean_r2"

    def __init__(self, config: Config):
        """Reads what it needs from ``config``."""
        self.config = config
        self.window = clip_window(config.data)
        self.columns = config.motion.columns

    def make_model(self, labels: Arrays | None, rngs: nnx.Rngs, axis_name: str | None) -> ClipModel:
        """I3D and a linear layer."""
        i3d = make_backbone(self.config, rngs, axis_name)
        offset, scale = np.zeros(len(self.columns)), np.ones(len(self.columns))
        if labels is not None:
            targets = np.stack([labels[c] for c in self.columns], -1)
            offset, spread = np.nanmean(targets, 0), np.nanstd(targets, 0)
            scale = np.where(spread > 0, spread, 1.0)
        head = MotionHead(i3d.feature_size, offset, scale, rngs)
        return ClipModel(i3d, head, self.config.data.normalisation, compute_dtype(self.config))

    def loss(
        self, model: ClipModel, batch: Batch, key: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Squared error [B], the mean over the known targets."""
        values = model(batch["video"], training_mode(self.config), self.config.train.clip_chunk)["values"]
        targets = jnp.stack([batch[c] for c in self.columns], -1)
        known = jnp.isfinite(targets)
        wanted = jnp.where(known, (targets - model.head.offset[None]) / model.head.scale[None], 0.0)
        losses = (jnp.square(values - wanted) * known).sum(-1) / jnp.maximum(known.sum(-1), 1)
        return losses, {}

    def outputs(self, model: ClipModel, batch: Batch) -> dict[str, jax.Array]:
        """``values`` [B, K] in the columns' units."""
        values = model(batch["video"], "frozen")["values"]
        return {"values": values * model.head.scale[None] + model.head.offset[None]}

    def report(self, outputs: Arrays, labels: Arrays, *, bootstrap: int) -> dict:
        """R² of each column over the videos that have it, and their mean."""
        scores = {}
        for k, column in enumerate(self.columns):
            known = np.isfinite(labels[column])
            wanted, got = labels[column][known], outputs["values"][known, k]
            spread = np.square(wanted - wanted.mean()).mean() if known.any() else 0.0
            scores[column] = float(1 - np.square(wanted - got).mean() / spread) if spread > 0 else None
        defined = [v for v in scores.values() if v is not None]
        return {"mean_r2": float(np.mean(defined)) if defined else None, "r2": scores}
