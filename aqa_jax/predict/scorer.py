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
from aqa_jax.predict.program import Program
from aqa_jax.predict.program_scorer import ProgramScorer
from aqa_jax.predict.trained import Trained
from aqa_jax.tasks.base import compute_dtype
from aqa_jax.tasks.score import ScoreTask
from aqa_jax.train.exemplars import known_difficulties
from aqa_jax.train.run import Run

CLIPS_ON_ACCELERATORS = 16
"""Clips through the backbone at once on a GPU: enough to fill it, about 1 GB in bfloat16."""


class RunScorer(ProgramScorer):
    """Scores batches of clips with the weights that a run's rule selects. Needs no dataset."""

    program: Program

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
        self.selection, self._config_hash, self._origin = trained.selection, trained.config_hash, trained.origin
        self._state = jax.tree.map(np.asarray, trained.state)
        program = self._make_program(inference_dtype(config), folded=True)
        known = known_difficulties(self._state, config.head)
        super().__init__(config, program, trained.trust, trained.trained_on, self.run.task.columns, known)

    def _make_program(self, dtype: jnp.dtype, *, folded: bool) -> Program:
        clips = self.config.predict.clips or (1 if jax.default_backend() == "cpu" else CLIPS_ON_ACCELERATORS)
        task = ScoreTask(self.config)
        return Program(task, self.run.assembler, self._state, dtype=dtype, clips=clips, folded=folded)

    @cached_property
    def plain(self) -> Program:
        """See :attr:`ProgramScorer.plain`."""
        return self._make_program(jnp.dtype("float32"), folded=False)

    @cached_property
    def weights_sha256(self) -> str:
        """Of every array that scores: two models that share it are the same to the bit."""
        digest = hashlib.sha256()
        for path, array in jax.tree_util.tree_leaves_with_path({k: v for k, v in self._state.items() if k != "step"}):
            digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

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

    def distribution(self, video: np.ndarray, difficulty: np.ndarray | None = None) -> tuple[ScoreDistribution, Parts]:
        """The head's own distributions [B] of clips as in :meth:`score`, and what describes these; numpy arrays."""
        raw, _, parts = self.program(video, self.batch(len(video), difficulty))
        return raw, parts


def inference_dtype(config: Config) -> jnp.dtype:
    """What the backbone computes in: ``config.predict.dtype``, or as in training."""
    return compute_dtype(config) if config.predict.dtype == "auto" else jnp.dtype(config.predict.dtype)
