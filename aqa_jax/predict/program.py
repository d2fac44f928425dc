"""A trained model as the two programs that score any number of videos: clips to features, features to scores.

Both always see the same shapes, so nothing is compiled after the first video, whatever a file's length, size or frame
rate, and however many files there are:

- the backbone takes ``clips`` clips at a time, which bounds memory too; the last of a batch are padded;
- the head takes ``videos`` videos at a time; whoever calls pads these.
"""

from collections import deque
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from aqa_jax import compilation
from aqa_jax.evaluate.calibration import LEVELS
from aqa_jax.evaluate.familiarity import Parts
from aqa_jax.models.folding import fold
from aqa_jax.models.score_model import ClipModel
from aqa_jax.models.scores import ScoreDistribution
from aqa_jax.tasks.score import ScoreTask
from aqa_jax.train.state import AXIS, Assembler, State

Told = tuple[ScoreDistribution, np.ndarray, Parts]
"""Distributions [B], their central intervals [B, L, 2] at ``LEVELS``, and what describes the videos; numpy arrays."""

# Waiting for each call before the next is made would leave the device idle; more of them ahead only take memory.
_CALLS_AHEAD = 2


@partial(jax.jit, static_argnums=0)
def clip_features(graph: Any, state: Any, clips: jax.Array) -> tuple[jax.Array, jax.Array]:
    """uint8 [N, T, H, W, 3] -> features [N, C] and the early layer's [N, E], float32.

    Models that differ in their weights alone share the compiled program.
    """
    return cast(ClipModel, nnx.merge(graph, state)).described(clips[:, None])


class Program:
    """A model on its devices, ready to score."""

    def __init__(
        self, task: ScoreTask, assembler: Assembler, state: State, *, dtype: jnp.dtype, clips: int, folded: bool = True
    ):
        """Places the weights; ``graph`` and ``state`` are the backbone's from then on.

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
        # Every device has all weights and takes its share of the clips.
        mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
        everywhere, self._shared = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (AXIS,)))
        self._at_once = clips * mesh.size
        # Apart, so that runs with other heads, or heads with other constants, share the backbone's program.
        backbone = ClipModel(model.i3d, None, model.normalisation, dtype)
        self.graph, arrays = nnx.split(backbone)
        self.state = jax.device_put(arrays, everywhere)
        head_graph, head_arrays = nnx.split(ClipModel(cast(Any, None), model.head, model.normalisation, dtype))
        self._head_state = jax.device_put(head_arrays, everywhere)

        @jax.jit
        def tell(state: Any, features: jax.Array, early: jax.Array, batch: dict[str, jax.Array]) -> Any:
            features, early = features.mean(1), early.mean(1)
            told = task.distribution_of(nnx.merge(head_graph, state), features, batch)
            intervals = told.intervals([level / 100 for level in LEVELS])
            return told, intervals, (early, features)

        @jax.jit
        def slope(state: Any, features: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
            def total(features: jax.Array) -> jax.Array:
                return task.distribution_of(nnx.merge(head_graph, state), features, batch).mean.sum()

            return jax.grad(total)(features.mean(1))

        self._tell, self._slope = tell, slope

    def compile(self, video: tuple[int, ...], batch: dict[str, np.ndarray]) -> None:
        """Compiles both programs for videos of shape ``video`` [B, S, T, H, W, 3] and what else the head reads."""
        clips = jax.ShapeDtypeStruct((self._at_once, *video[2:]), jnp.uint8, sharding=self._shared)
        with compilation.tracing():
            lowered = clip_features.lower(self.graph, self.state, clips)
            lowered.compile()
        outputs = (jax.ShapeDtypeStruct((*video[:2], out.shape[-1]), out.dtype) for out in lowered.out_info)
        self._tell.lower(self._head_state, *outputs, batch).compile()

    def __call__(self, video: np.ndarray, batch: dict[str, np.ndarray]) -> Told:
        """Scores of videos uint8 [B, S, T, H, W, 3]; ``batch`` holds what else the head reads, each [B]."""
        return self.tell(*self.features(video), batch)

    def tell(self, features: np.ndarray, early: np.ndarray, batch: dict[str, np.ndarray]) -> Told:
        """The same from what :meth:`features` returned: the head alone."""
        return jax.tree.map(np.asarray, self._tell(self._head_state, features, early, batch))

    def slope(self, features: np.ndarray, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Gradient of the distributions' means with respect to the mean of the clips' features [B, S, C]: [B, C]."""
        return np.asarray(self._slope(self._head_state, features, batch))

    def features(self, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Clips' features: [B, S, T, H, W, 3] -> [B, S, C], and the early layer's [B, S, E]."""
        flat = video.reshape(-1, *video.shape[2:])
        at_once = self._at_once
        waiting: deque[tuple[jax.Array, jax.Array]] = deque()
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(flat), at_once):
            clips = flat[start : start + at_once]
            if len(clips) < at_once:
                clips = np.concatenate([clips, np.repeat(clips[-1:], at_once - len(clips), 0)])
            waiting.append(clip_features(self.graph, self.state, jax.device_put(clips, self._shared)))
            if len(waiting) == _CALLS_AHEAD:
                parts.append(jax.tree.map(np.asarray, waiting.popleft()))
        parts += [jax.tree.map(np.asarray, one) for one in waiting]
        joined = (np.concatenate([part[i] for part in parts]) for i in range(2))
        features, early = (x.reshape(-1, x.shape[-1])[: len(flat)] for x in joined)
        return features.reshape(*video.shape[:2], -1), early.reshape(*video.shape[:2], -1)
