"""A trained run, restored to score new videos."""

from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.data import exemplar_keys
from aqa_jax.errors import ConfigError
from aqa_jax.evaluate.familiarity import Parts
from aqa_jax.files import read_json
from aqa_jax.models.score_model import ClipModel
from aqa_jax.models.scores import ScoreDistribution
from aqa_jax.predict.predict import InputFormat
from aqa_jax.predict.trust import Reported, Trust
from aqa_jax.tasks.base import Batch, clip_window
from aqa_jax.tasks.score import ScoreTask
from aqa_jax.train.chosen import restore_chosen
from aqa_jax.train.exemplars import known_difficulties
from aqa_jax.train.run import TRAINED_ON, Run
from aqa_jax.train.state import State


class RunScorer:
    """Scores batches of clips with the weights that a run's rule selects. Needs no dataset."""

    def __init__(self, config: Config, workdir: Path):
        """Restores the checkpoint.

        Raises:
          ConfigError: the run is not one that scores, or not one that scores files.
          CheckpointError: there is no checkpoint, or it does not fit ``config``.
          DataError: the workdir's description of its training data is missing, or a file of its evaluation damaged.
        """
        if config.task != "score":
            raise ConfigError(f"{workdir} was trained with config.task={config.task}: it does not score videos.")
        self.run = Run(config)
        if self.run.paired:
            exemplar_keys.keys_of_new_videos(np.zeros(0), 0, config.head)  # Raises where it could not be done.
        self.trained_on = read_json(workdir / "trained_on.json", TRAINED_ON)
        self.selection, self._state = restore_chosen(self.run, workdir)
        self.trust = Trust.of_run(config, workdir, self.selection.step)
        task, assembler = ScoreTask(config), self.run.assembler

        @jax.jit
        def distribution(state: State, batch: Batch) -> tuple[ScoreDistribution, tuple[jax.Array, jax.Array]]:
            model = cast(ClipModel, assembler.merge(state))
            features, early = model.described(batch["video"])
            return task.distribution_of(model, features, batch), (early, features)

        self._distribution = distribution

    @property
    def needs_difficulty(self) -> bool:
        """Whether the head multiplies by a given difficulty."""
        return "difficulty" in self.run.task.columns

    @property
    def known_difficulties(self) -> tuple[float, ...] | None:
        """The difficulties that can be scored: those of exemplars; None: any."""
        return known_difficulties(self._state, self.run.config.head)

    @property
    def input_format(self) -> InputFormat:
        """What :meth:`score` takes, for the decoder."""
        crop = self.run.config.data.crop
        return InputFormat(clip_window(self.run.config), tuple(self.trained_on["frame_size"]), (crop, crop))

    def describe(self) -> dict[str, Any]:
        """What identifies the model in a result file."""
        return {
            "config_hash": config_lib.fingerprint(self.run.config),
            "head": self.run.config.head.name,
            "selection": self.selection.to_dict(),
            "checkpoint_step": self.selection.step,
            **self.trust.describe(),
            "trained_on": {k: self.trained_on[k] for k in ("builder", "fingerprint", "videos")},
        }

    def score(self, video: np.ndarray, difficulty: np.ndarray | None = None) -> Reported:
        """Scores of clips, with all that is known of how far they can be trusted.

        Args:
          video: uint8 RGB [B, S, T, H, W, 3], as :attr:`input_format` says.
          difficulty: float32 [B], where :attr:`needs_difficulty`.

        Raises:
          ConfigError: the difficulty is missing.
        """
        raw, parts = self.distribution(video, difficulty)
        return self.trust.report(raw, parts, mode=self.run.config.evaluate.point == "mode")

    def distribution(self, video: np.ndarray, difficulty: np.ndarray | None = None) -> tuple[ScoreDistribution, Parts]:
        """The head's own distributions [B] of clips as in :meth:`score`, and what describes these; numpy arrays."""
        batch: dict[str, np.ndarray] = {"video": video}
        if self.needs_difficulty:
            if difficulty is None:
                raise ConfigError("This head multiplies by the difficulty: give it, one for each video.")
            batch["difficulty"] = np.asarray(difficulty, np.float32)
        if self.run.paired:
            batch[exemplar_keys.COLUMN] = exemplar_keys.keys_of_new_videos(difficulty, len(video), self.run.config.head)
        return jax.tree.map(np.asarray, self._distribution(self._state, batch))
