"""A trained run, restored to score new videos."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aqa_jax.config import Config
from aqa_jax.data import exemplar_keys
from aqa_jax.errors import ConfigError
from aqa_jax.evaluate.familiarity import Parts
from aqa_jax.models.scores import ScoreDistribution
from aqa_jax.predict.input_format import InputFormat
from aqa_jax.predict.program import Program
from aqa_jax.predict.trained import Trained
from aqa_jax.predict.trust import Reported
from aqa_jax.tasks.base import compute_dtype
from aqa_jax.tasks.score import ScoreTask
from aqa_jax.train.exemplars import known_difficulties
from aqa_jax.train.run import Run

CLIPS_ON_ACCELERATORS = 16
"""Clips through the backbone at once on a GPU: enough to fill it, about 1 GB in bfloat16."""


class RunScorer:
    """Scores batches of clips with the weights that a run's rule selects. Needs no dataset."""

    def __init__(self, config: Config, trained: Path | Trained, run: Run | None = None):
        """Restores the checkpoint.

        Args:
          config: the run's; ``evaluate`` and ``predict`` keys may differ.
          trained: the run's workdir, or what was read of it elsewhere.
          run: of the same config, if there is one.

        Raises:
          ConfigError: the run is not one that scores, or not one that scores files.
          CheckpointError: there is no checkpoint, or it does not fit ``config``.
          DataError: the workdir's description of its training data is missing, or a file of its evaluation damaged.
        """
        if config.task != "score":
            name = trained if isinstance(trained, Path) else "The model"
            raise ConfigError(f"{name} was trained with config.task={config.task}: it does not score videos.")
        self.config, self.run = config, run or Run(config)
        if self.run.paired:
            exemplar_keys.keys_of_new_videos(np.zeros(0), 0, config.head)  # Raises where it could not be done.
        if isinstance(trained, Path):
            trained = Trained.of_run(self.run, trained)
        self.trained_on, self.selection, self.trust = trained.trained_on, trained.selection, trained.trust
        self._config_hash, self._origin = trained.config_hash, trained.origin
        self._state = jax.tree.map(np.asarray, trained.state)
        self.program = self._make_program(inference_dtype(config), folded=True)

    def _make_program(self, dtype: jnp.dtype, *, folded: bool) -> Program:
        clips = self.config.predict.clips or (1 if jax.default_backend() == "cpu" else CLIPS_ON_ACCELERATORS)
        task = ScoreTask(self.config)
        return Program(task, self.run.assembler, self._state, dtype=dtype, clips=clips, folded=folded)

    @cached_property
    def plain(self) -> Program:
        """The model as it was trained, in float32: what a check compares with."""
        return self._make_program(jnp.dtype("float32"), folded=False)

    @cached_property
    def weights_sha256(self) -> str:
        """Of every array that scores: two models that share it are the same to the bit."""
        digest = hashlib.sha256()
        for path, array in jax.tree_util.tree_leaves_with_path({k: v for k, v in self._state.items() if k != "step"}):
            digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    @property
    def batch_size(self) -> int:
        """How many videos to score at once, where nobody says: the clips of one keep a CPU busy."""
        return 1 if jax.default_backend() == "cpu" else 4

    @property
    def needs_difficulty(self) -> bool:
        """Whether the head multiplies by a given difficulty."""
        return "difficulty" in self.run.task.columns

    @property
    def known_difficulties(self) -> tuple[float, ...] | None:
        """The difficulties that can be scored: those of exemplars; None: any."""
        return known_difficulties(self._state, self.config.head)

    @property
    def input_format(self) -> InputFormat:
        """What :meth:`score` takes, for the decoder."""
        height, width = self.trained_on["frame_size"]
        return InputFormat.of(self.config, (height, width))

    def describe(self) -> dict[str, Any]:
        """What identifies the model in a result file."""
        return {
            "config_hash": self._config_hash,
            "head": self.config.head.name,
            "selection": self.selection.to_dict(),
            "checkpoint_step": self.selection.step,
            "weights_sha256": self.weights_sha256,
            **self.trust.describe(),
            "dtype": str(inference_dtype(self.config)),
            "trained_on": {k: self.trained_on[k] for k in ("builder", "fingerprint", "videos")} | self._excluded,
            **self._origin,
        }

    @property
    def _excluded(self) -> dict[str, int]:
        """How many videos were left out, if any: their names are not for whoever gets a score."""
        # A bundle has their number alone.
        left_out = self.trained_on.get("excluded_videos") or len(self.trained_on.get("excluded", ()))
        return {"excluded": left_out} if left_out else {}

    def prepare(self, batch_size: int) -> None:
        """Compiles what :meth:`score` runs, for that many videos at once."""
        form = self.input_format
        shape = (batch_size, form.window.num_clips, form.window.clip_length, *form.crop_size, 3)
        # Any difficulty that has exemplars will do: nothing is computed.
        known = self.known_difficulties or (1.0,)
        batch = self.batch(batch_size, np.full(batch_size, known[0], np.float32))
        self.program.compile(shape, batch)

    def score(self, video: np.ndarray, difficulty: np.ndarray | None = None, *, plain: bool = False) -> Reported:
        """Scores of clips, with all that is known of how far they can be trusted.

        Args:
          video: uint8 RGB [B, S, T, H, W, 3], as :attr:`input_format` says.
          difficulty: float32 [B], where :attr:`needs_difficulty`.
          plain: by :attr:`plain`, for a check.

        Raises:
          ConfigError: the difficulty is missing.
        """
        program = self.plain if plain else self.program
        raw, intervals, parts = program(video, self.batch(len(video), difficulty))
        return self.trust.report(raw, parts, mode=self.config.evaluate.point == "mode", intervals=intervals)

    def distribution(self, video: np.ndarray, difficulty: np.ndarray | None = None) -> tuple[ScoreDistribution, Parts]:
        """The head's own distributions [B] of clips as in :meth:`score`, and what describes these; numpy arrays."""
        raw, _, parts = self.program(video, self.batch(len(video), difficulty))
        return raw, parts

    def batch(self, size: int, difficulty: np.ndarray | None) -> dict[str, np.ndarray]:
        """What the head reads beside features, each [B]."""
        batch: dict[str, np.ndarray] = {}
        if self.needs_difficulty:
            if difficulty is None:
                raise ConfigError("This head multiplies by the difficulty: give it, one for each video.")
            batch["difficulty"] = np.asarray(difficulty, np.float32)
        if self.run.paired:
            batch[exemplar_keys.COLUMN] = exemplar_keys.keys_of_new_videos(difficulty, size, self.config.head)
        return batch


def inference_dtype(config: Config) -> jnp.dtype:
    """What the backbone computes in: ``config.predict.dtype``, or as in training."""
    return compute_dtype(config) if config.predict.dtype == "auto" else jnp.dtype(config.predict.dtype)
