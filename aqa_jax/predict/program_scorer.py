"""Scores clips by a program and what is known of its trust: what scorers of one model share, without the model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from aqa_jax.config import Config
from aqa_jax.data import exemplar_keys
from aqa_jax.errors import ConfigError
from aqa_jax.predict.input_format import InputFormat
from aqa_jax.predict.runner import Runner
from aqa_jax.predict.trust import Reported, Trust


class ProgramScorer(ABC):
    """Scores batches of clips. Needs no dataset.

    Attributes:
      config: of the run.
      program: clips to features to scores, with its weights.
      trust: recalibration and familiarity.
      trained_on: what is known of the training data: ``frame_size`` and ``score_range`` at least.
      columns: what the task reads beside videos.
      known_difficulties: the difficulties that can be scored: those of exemplars; None: any.
    """

    def __init__(
        self,
        config: Config,
        program: Runner,
        trust: Trust,
        trained_on: dict[str, Any],
        columns: Sequence[str],
        known_difficulties: tuple[float, ...] | None,
    ):
        """See the attributes."""
        self.config, self.program, self.trust, self.trained_on = config, program, trust, trained_on
        self.columns, self.known_difficulties = tuple(columns), known_difficulties

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What identifies the model in a result file."""

    @property
    @abstractmethod
    def plain(self) -> Runner:
        """The model as it was trained, in float32: what a check compares with."""

    @property
    def needs_difficulty(self) -> bool:
        """Whether the head multiplies by a given difficulty."""
        return "difficulty" in self.columns

    @property
    def batch_size(self) -> int:
        """How many videos to score at once, where nobody says: the clips of one keep a CPU busy."""
        return 1 if jax.default_backend() == "cpu" else 4

    @property
    def input_format(self) -> InputFormat:
        """What :meth:`score` takes, for the decoder."""
        height, width = self.trained_on["frame_size"]
        return InputFormat.of(self.config, (height, width))

    def example(self, batch_size: int) -> tuple[tuple[int, ...], dict[str, np.ndarray]]:
        """The shape of that many videos, and what else the head reads of them, for compiling: any will do."""
        form = self.input_format
        shape = (batch_size, form.window.num_clips, form.window.clip_length, *form.crop_size, 3)
        known = self.known_difficulties or (1.0,)
        return shape, self.batch(batch_size, np.full(batch_size, known[0], np.float32))

    def prepare(self, batch_size: int) -> None:
        """Compiles what :meth:`score` runs, for that many videos at once."""
        self.program.compile(*self.example(batch_size))

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

    def batch(self, size: int, difficulty: np.ndarray | None) -> dict[str, np.ndarray]:
        """What the head reads beside features, each [B]."""
        batch: dict[str, np.ndarray] = {}
        if self.needs_difficulty:
            if difficulty is None:
                raise ConfigError("This head multiplies by the difficulty: give it, one for each video.")
            batch["difficulty"] = np.asarray(difficulty, np.float32)
        if exemplar_keys.COLUMN in self.columns:
            batch[exemplar_keys.COLUMN] = exemplar_keys.keys_of_new_videos(difficulty, size, self.config.head)
        return batch
