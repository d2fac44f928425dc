"""A scoring model's two programs, run on any number of videos: clips to features, features to scores.

Both always see the same shapes, so nothing is compiled after the first video, whatever a file's length, size or frame
rate, and however many files there are:

- the backbone takes ``clips`` clips at a time, which bounds memory too; the last of a batch are padded;
- the head takes ``videos`` videos at a time; whoever calls pads these.

Needs jax alone, not the model: the programs may be read from a file (:mod:`aqa_jax.predict.kept`).
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.sharding import NamedSharding, PartitionSpec

from aqa_jax import compilation
from aqa_jax.evaluate.familiarity import Parts
from aqa_jax.models.scores import ScoreDistribution

Told = tuple[ScoreDistribution, np.ndarray, Parts]
"""Distributions [B], their central intervals [B, L, 2] at ``LEVELS``, and what describes the videos; numpy arrays."""

Backbone = Callable[[list[Any], Any], tuple[jax.Array, jax.Array]]
"""Weights and uint8 [N, T, H, W, 3] -> features [N, C] and the early layer's [N, E], float32."""

# One call has stretches that keep a single core busy, or waits for its clips; more calls than two only take memory.
_CALLS = 2
# Seconds at most. The first call makes what XLA keeps for each operation; another at its heels would make it again.
_HEAD_START = 0.15


class Runner(ABC):
    """Two programs and their weights on the devices, ready to score."""

    def __init__(self, weights: list[Any], head_weights: list[Any], *, clips: int):
        """Places the weights: every device has all of them, and takes its share of the clips.

        Args:
          weights: the backbone's arrays.
          head_weights: the head's.
          clips: through the backbone at a time, on each device.
        """
        mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("clips",))
        everywhere, self._shared = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("clips",)))
        self.clips, self.at_once = clips, clips * mesh.size
        self.weights, self.head_weights = jax.device_put((weights, head_weights), everywhere)
        self._backbones: dict[tuple[int, ...], jax.stages.Compiled] = {}
        self._called, self._launch = threading.Event(), threading.Lock()

    @abstractmethod
    def make_backbone(self, clips: jax.ShapeDtypeStruct) -> Any:
        """The jitted :data:`Backbone` for ``clips``, uint8 [N, T, H, W, 3]."""

    @property
    @abstractmethod
    def head(self) -> Any:
        """The jitted program of the head.

        Takes weights, features [B, S, C], the early layer's [B, S, E] and what else it reads, each [B]; returns the
        fields of a :class:`ScoreDistribution`, intervals and parts as in :data:`Told`.
        """

    def compile(self, video: tuple[int, ...], batch: dict[str, np.ndarray]) -> None:
        """Compiles both programs for videos of shape ``video`` [B, S, T, H, W, 3] and what else the head reads."""
        features = self.backbone(video[2:]).out_info
        outputs = (jax.ShapeDtypeStruct((*video[:2], out.shape[-1]), out.dtype) for out in features)
        self.head.lower(self.head_weights, *outputs, batch).compile()

    def clips_of(self, clip: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        """What the backbone takes at once, of clips of shape ``clip`` [T, H, W, 3]."""
        return jax.ShapeDtypeStruct((self.at_once, *clip), jnp.uint8, sharding=self._shared)

    def backbone(self, clip: tuple[int, ...]) -> Any:
        """The compiled program for clips of shape ``clip`` [T, H, W, 3]."""
        if clip not in self._backbones:
            clips = self.clips_of(clip)
            with compilation.tracing():
                self._backbones[clip] = self.make_backbone(clips).lower(self.weights, clips).compile()
        return self._backbones[clip]

    def __call__(self, video: np.ndarray, batch: dict[str, np.ndarray]) -> Told:
        """Scores of videos uint8 [B, S, T, H, W, 3]; ``batch`` holds what else the head reads, each [B]."""
        return self.tell(*self.features(video), batch)

    def tell(self, features: np.ndarray, early: np.ndarray, batch: dict[str, np.ndarray]) -> Told:
        """The same from what :meth:`features` returned: the head alone."""
        fields, intervals, parts = jax.tree.map(np.asarray, self.head(self.head_weights, features, early, batch))
        return ScoreDistribution(*fields), intervals, parts

    def features(self, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Clips' features: [B, S, T, H, W, 3] -> [B, S, C], and the early layer's [B, S, E]."""
        flat = video.reshape(-1, *video.shape[2:])
        at_once, backbone = self.at_once, self.backbone(video.shape[2:])

        def part(start: int) -> tuple[np.ndarray, np.ndarray]:
            if start:
                self._called.wait(_HEAD_START)
            clips = flat[start : start + at_once]
            if len(clips) < at_once:
                clips = np.concatenate([clips, np.repeat(clips[-1:], at_once - len(clips), 0)])
            placed = jax.device_put(clips, self._shared)
            with self._launch:  # Several devices get their calls in the same order.
                launched = backbone(self.weights, placed)
            found = jax.tree.map(np.asarray, launched)
            self._called.set()
            return found

        with ThreadPoolExecutor(_CALLS, "clips") as pool:
            parts = list(pool.map(part, range(0, len(flat), at_once)))
        joined = (np.concatenate([part[i] for part in parts]) for i in range(2))
        features, early = (x.reshape(-1, x.shape[-1])[: len(flat)] for x in joined)
        return features.reshape(*video.shape[:2], -1), early.reshape(*video.shape[:2], -1)


def runnable(exported: export.Exported) -> Any:
    """The jitted program of an exported one; from a file or not, it is the same to the compiler's cache."""

    def program(*arguments: Any) -> Any:
        return exported.call(*arguments)

    program.__name__ = exported.fun_name
    return jax.jit(program)
