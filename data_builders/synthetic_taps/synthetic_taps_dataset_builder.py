"""TFDS builder of the rendered finger taps."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path

import tensorflow_datasets as tfds

from aqa_jax.data.builder import VideoBuilderConfig, VideoDatasetBuilder
from aqa_jax.errors import ConfigError

from . import render, videos, world

TEST_PATIENTS_FROM = 10_000
FIRST_INDEX = {"train": 0, "unlabelled": 1_000_000, "test": 2_000_000}


@dataclasses.dataclass(eq=False)
class Config(VideoBuilderConfig):
    """How many videos of how many patients; a split's videos do not depend on the other splits' sizes.

    Attributes:
      train_patients: patients of the labelled videos, who are in the unlabelled pool too.
      pool_patients: patients of the unlabelled pool alone; those of the test have no video anywhere else.
      frames: of every video, 64 at least.
      movement: "tap" (finger and thumb) or "step" (two legs).
      seed: of everything that is drawn.
    """

    height: int = world.SIZE
    width: int = world.SIZE
    jpeg_quality: int = 95
    train_videos: int = 64
    unlabelled_videos: int = 1200
    test_videos: int = 400
    train_patients: int = 32
    pool_patients: int = 28
    test_patients: int = 40
    frames: int = world.FRAMES
    movement: str = "tap"
    seed: int = 0


class Builder(VideoDatasetBuilder):
    """Rendered finger tapping of known severity, labelled and unlabelled."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [Config(name="default")]  # noqa: RUF012  (tfds reads a list)
    SPLITS = ("train", "unlabelled", "test")
    UNLABELLED_SPLITS = ("unlabelled",)

    def video_specs(self, split: str) -> list[render.Spec]:
        """The videos of ``split``: patients in turn, each with the left and the right hand in turn."""
        c = self.builder_config
        self._check()
        patients = {
            "train": range(c.train_patients),
            "unlabelled": range(c.train_patients + c.pool_patients),
            "test": range(TEST_PATIENTS_FROM, TEST_PATIENTS_FROM + c.test_patients),
        }[split]
        count = {"train": c.train_videos, "unlabelled": c.unlabelled_videos, "test": c.test_videos}[split]
        specs = []
        for k in range(count):
            turn, who = divmod(k, len(patients))
            side = world.SIDES[(turn + who) % 2]
            index = FIRST_INDEX[split] + k
            labelled = split not in self.UNLABELLED_SPLITS
            specs.append(render.Spec(c.seed, index, patients[who], side, c.movement, c.frames, labelled))
        return specs

    def _check(self) -> None:
        c = self.builder_config
        if c.height != c.width:
            raise ConfigError(f"frames are square here: got height {c.height}, width {c.width}; give one size")
        world.check(movement=c.movement, num_frames=c.frames)
        for name in ("train_patients", "test_patients"):
            if getattr(c, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(c, name)}")
        if c.pool_patients < 0 or c.train_patients + c.pool_patients > TEST_PATIENTS_FROM:
            raise ConfigError(
                f"pool_patients must be 0 or more, and with train_patients {TEST_PATIENTS_FROM} at most: got "
                f"{c.pool_patients} and {c.train_patients}"
            )
        for split, count in (("train", c.train_videos), ("unlabelled", c.unlabelled_videos), ("test", c.test_videos)):
            if not 1 <= count <= FIRST_INDEX["unlabelled"]:
                raise ConfigError(f"{split}_videos must be 1 to {FIRST_INDEX['unlabelled']}, got {count}")

    def renderer(self):
        """The function that the worker processes call for every spec."""
        return functools.partial(render.render, size=self.builder_config.height)

    @classmethod
    def write_samples(cls, folder: str | os.PathLike[str], count: int) -> Path:
        """Videos of patients of no split, as mp4 files; see :func:`videos.write_videos`."""
        return videos.write_videos(folder, count=count)[0].parent / "truth.csv"

    def describe(self) -> dict:
        """Facts of the metadata beside the table."""
        return {
            "score_range": [0.0, 4.0],
            "judge_rule": "none",
            "severity_weights": world.FACTORS,
            "rater_sigma": world.RATER_SIGMA,
        }
