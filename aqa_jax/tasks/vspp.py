"""Video segment pace prediction: which segment of a clip changed pace, and to what pace (PECoP's pretext task)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from aqa_jax.config import Config
from aqa_jax.data.pace import PaceWindow
from aqa_jax.evaluate.accuracy import accuracy_interval
from aqa_jax.models.i3d import I3D, BNMode
from aqa_jax.models.jitter import colour_jitter
from aqa_jax.models.layers import Linear
from aqa_jax.models.score_model import features_by_chunk, normalise
from aqa_jax.tasks.base import Arrays, Batch, compute_dtype, make_backbone, training_mode


class PaceHead(nnx.Module):
    """Two 1x1x1 convolutions, averaged over time (PECoP's ``logits_p`` and ``logits_s``)."""

    def __init__(self, features: int, paces: int, segments: int, rngs: nnx.Rngs):
        """Makes one for ``paces`` classes and one for ``segments``."""
        self.pace = Linear(features, paces, rngs)
        self.segment = Linear(features, segments, rngs)

    def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
        """[B, T', C] float32 -> logits ``pace`` and ``segment`` [B, classes]."""
        # The mean over time of a linear map is the map of the mean.
        mean = features.mean(1)
        return {"pace": self.pace(mean), "segment": self.segment(mean)}


class PaceModel(nnx.Module):
    """I3D over one clip, dropout in training, the two heads."""

    def __init__(self, i3d: I3D, head: PaceHead, normalisation: str, dtype: jnp.dtype):
        """Joins ``i3d`` and ``head``."""
        self.i3d, self.head = i3d, head
        self.normalisation, self.dtype = normalisation, dtype

    def __call__(
        self, video: jax.Array, mode: BNMode, *, dropout: float = 0.0, key: jax.Array | None = None, chunk: int = 0
    ) -> dict[str, jax.Array]:
        """RGB in 0..255 [B, 1, T, H, W, 3] -> logits ``pace`` and ``segment`` [B, classes].

        With ``chunk``, that many clips go through the backbone at a time (:func:`features_by_chunk`).
        """

        def frames(clips: jax.Array) -> jax.Array:
            return normalise(clips, self.normalisation, self.dtype)

        if chunk:
            assert mode == "frozen", "batch statistics need all clips at once"
            features = features_by_chunk(self.i3d, frames, video[:, 0], chunk)
        else:
            features = self.i3d(frames(video[:, 0]), mode)
        if dropout and key is not None:
            kept = jax.random.bernoulli(key, 1 - dropout, features.shape)
            features = jnp.where(kept, features / (1 - dropout), 0.0)
        return self.head(features)


class VsppTask:
    """Cross entropy of the pace plus that of the segment, equally weighted. No label of the dataset is read."""

    columns: tuple[str, ...] = ()
    monitor = "mean_accuracy"

    def __init__(self, config: Config):
        """Reads what it needs from ``config``."""
        self.config = config
        self.window = pace_window(config)

    def make_model(self, labels: Arrays | None, rngs: nnx.Rngs, axis_name: str | None) -> PaceModel:
        """I3D (with its adapters) and the two heads."""
        i3d = make_backbone(self.config, rngs, axis_name)
        head = PaceHead(i3d.feature_size, len(self.window.pace_classes), self.window.segments, rngs)
        return PaceModel(i3d, head, self.config.data.normalisation, compute_dtype(self.config))

    def loss(
        self, model: PaceModel, batch: Batch, key: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Sum of the two cross entropies [B]; logged beside it whether each answer is right."""
        settings = self.config.vspp
        drop_key, jitter_key = jax.random.split(key)
        video = batch["video"]
        if settings.colour_jitter:
            video = colour_jitter(video, settings.colour_jitter, jitter_key)
        logits = model(
            video, training_mode(self.config), dropout=settings.dropout, key=drop_key,
            chunk=self.config.train.clip_chunk,
        )  # fmt: skip
        figures = {f"{name}_accuracy": _right(logits[name], batch[name]) for name in self.window.labels}
        losses = [
            optax.softmax_cross_entropy_with_integer_labels(logits[name], batch[name]) for name in self.window.labels
        ]
        return losses[0] + losses[1], figures

    def outputs(self, model: PaceModel, batch: Batch) -> dict[str, jax.Array]:
        """For each head ``<name>_confusion`` [B, classes, classes]: 1 at (truth, answer), and the ``loss`` [B]."""
        logits = model(batch["video"], "frozen")
        result, loss = {}, jnp.zeros(())
        for name in self.window.labels:
            classes = logits[name].shape[-1]
            truth = jax.nn.one_hot(batch[name], classes)
            answer = jax.nn.one_hot(logits[name].argmax(-1), classes)
            result[f"{name}_confusion"] = truth[:, :, None] * answer[:, None, :]
            loss = loss + optax.softmax_cross_entropy_with_integer_labels(logits[name], batch[name])
        return {**result, "loss": loss}

    def report(self, outputs: Arrays, labels: Arrays, *, bootstrap: int) -> dict:
        """Accuracy of each head with its 95 % interval over videos, their mean, and the confusion matrices.

        Rows of a confusion matrix are the truth; entries are shares of all clips.
        """
        figures: dict = {"loss": float(outputs["loss"].mean())}
        confidence = {}
        for name in self.window.labels:
            confusion = outputs[f"{name}_confusion"]
            right = np.trace(confusion, axis1=1, axis2=2)
            figures[f"{name}_accuracy"] = float(right.mean())
            figures[f"{name}_confusion"] = confusion.mean(0).tolist()
            if bootstrap:
                confidence[f"{name}_accuracy"] = accuracy_interval(right, bootstrap, self.config.seed)
        figures["mean_accuracy"] = float(np.mean([figures[f"{name}_accuracy"] for name in self.window.labels]))
        figures["paces"] = list(self.window.pace_classes)
        return {**figures, "confidence": confidence} if confidence else figures


def pace_window(config: Config) -> PaceWindow:
    """The sampler that ``config`` describes."""
    vspp = config.vspp
    paces = tuple(pace for pace in vspp.paces if pace != vspp.base_step)
    return PaceWindow(config.data.clip_length, vspp.segments, vspp.base_step, paces, vspp.faithful)


def _right(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return (logits.argmax(-1) == labels).astype(jnp.float32)
