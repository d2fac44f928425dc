"""A trained model as the two programs of a :class:`Runner`, made from its modules."""

from functools import cached_property, lru_cache
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export

from aqa_jax import compilation
from aqa_jax.evaluate.calibration import LEVELS
from aqa_jax.models.folding import fold
from aqa_jax.models.score_model import ClipModel
from aqa_jax.predict.runner import Runner, runnable
from aqa_jax.tasks.score import ScoreTask
from aqa_jax.train.state import Assembler, State


class Program(Runner):
    """A model on its devices, ready to score. ``graph`` and ``state`` are the backbone's."""

    def __init__(
        self, task: ScoreTask, assembler: Assembler, state: State, *, dtype: jnp.dtype, clips: int, folded: bool = True
    ):
        """Places the weights.

        Args:
          task: what the head's features become.
          assembler: of the model.
          state: its arrays.
          dtype: that the backbone computes in.
          clips: through the backbone at a time, on each device.
          folded: fold the batch normalisation into the convolutions.
        """
        # On the host: folding there compiles nothing.
        model = cast(ClipModel, assembler.merge(jax.tree.map(np.asarray, state)))
        if folded:
            fold(model.i3d)
        self._task = task
        # Apart, so that runs with other heads, or heads with other constants, share the backbone's program.
        self.graph, arrays = nnx.split(ClipModel(model.i3d, None, model.normalisation, dtype))
        self._head_graph, head_arrays = nnx.split(ClipModel(cast(Any, None), model.head, model.normalisation, dtype))
        weights, self._structure = jax.tree.flatten(arrays)
        head_weights, self._head_structure = jax.tree.flatten(head_arrays)
        super().__init__(weights, head_weights, clips=clips)

    @property
    def state(self) -> Any:
        """The backbone's arrays, for :attr:`graph`."""
        return jax.tree.unflatten(self._structure, self.weights)

    def make_backbone(self, clips: jax.ShapeDtypeStruct) -> Any:
        """See :meth:`Runner.make_backbone`."""
        return self._backbones_of(clips)[1]

    def exported_backbone(self, clips: jax.ShapeDtypeStruct) -> export.Exported:
        """The backbone's program for ``clips``, uint8 [N, T, H, W, 3]."""
        return self._backbones_of(clips)[0]

    def _backbones_of(self, clips: jax.ShapeDtypeStruct) -> tuple[export.Exported, Any]:
        weights = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for x in self.weights)
        return _backbones(self.graph, self._structure, weights, clips)

    def head_arguments(self, video: tuple[int, ...], batch: dict[str, np.ndarray]) -> tuple[Any, ...]:
        """What :attr:`head` is lowered with, for videos of shape ``video`` [B, S, T, H, W, 3] and a batch of them."""
        outputs = self.exported_backbone(self.clips_of(video[2:])).out_avals
        features, early = (jax.ShapeDtypeStruct((*video[:2], out.shape[-1]), out.dtype) for out in outputs)
        return self.head_weights, features, early, batch

    @cached_property
    def head(self) -> Any:
        """See :attr:`Runner.head`."""

        @jax.jit
        def tell(weights: list[Any], features: jax.Array, early: jax.Array, batch: dict[str, jax.Array]) -> Any:
            features, early = features.mean(1), early.mean(1)
            told = self._told(weights, features, batch)
            intervals = told.intervals([level / 100 for level in LEVELS])
            return (told.mean, told.sigma, told.mode, told.support, told.pmf), intervals, (early, features)

        return tell

    @cached_property
    def _slope(self) -> Any:
        @jax.jit
        def slope(weights: list[Any], features: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
            return jax.grad(lambda mean: self._told(weights, mean, batch).mean.sum())(features.mean(1))

        return slope

    def _told(self, weights: list[Any], features: jax.Array, batch: dict[str, jax.Array]) -> Any:
        model = nnx.merge(self._head_graph, jax.tree.unflatten(self._head_structure, weights))
        return self._task.distribution_of(model, features, batch)

    def slope(self, features: np.ndarray, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Gradient of the distributions' means with respect to the mean of the clips' features [B, S, C]: [B, C]."""
        return np.asarray(self._slope(self.head_weights, features, batch))


# Models that differ in their weights alone share the program, and its trace.
@lru_cache(maxsize=8)
def _backbones(graph: Any, structure: Any, weights: tuple[Any, ...], clips: Any) -> tuple[export.Exported, Any]:
    @jax.jit
    def clip_features(weights: list[Any], clips: jax.Array) -> tuple[jax.Array, jax.Array]:
        return cast(ClipModel, nnx.merge(graph, jax.tree.unflatten(structure, weights))).described(clips[:, None])

    with compilation.tracing(), compilation.without_paths():
        exported = export.export(clip_features)(list(weights), clips)
    return exported, runnable(exported)
