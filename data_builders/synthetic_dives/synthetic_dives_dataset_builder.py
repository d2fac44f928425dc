"""TFDS builder of the rendered dives."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path

import tensorflow_datasets as tfds

from aqa_jax.data.builder import VideoBuilderConfig, VideoDatasetBuilder
from aqa_jax.errors import ConfigError

from . import render, videos


@dataclasses.dataclass(eq=False)
class Config(VideoBuilderConfig):
    """How many dives, by how many athletes, from which seed.

    Attributes:
      train_athletes: divers of the training dives; the test dives have ``test_athletes`` others.
      judge_noise: standard deviation of a judge in the thickest mist, in points; .15 in clear air.
      planted: share of the dives with one fault in a known place, beside which the others are slight; 0: as ever.
      seed: of everything that is drawn.
    """

    height: int = 32
    width: int = 32
    jpeg_quality: int = 95
    train_videos: int = 2000
    test_videos: int = 300
    train_athletes: int = 180
    test_athletes: int = 30
    judge_noise: float = render.world.JUDGE_NOISE
    planted: float = 0.0
    seed: int = 0


class Builder(VideoDatasetBuilder):
    """Rendered dives with seven judges of known noise."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [Config(name="default")]  # noqa: RUF012  (tfds reads a list)

    def video_specs(self, split: str) -> list[render.Spec]:
        """The dives of ``split``: consecutive indices, athletes in turn."""
        c = self.builder_config
        if not render.world.LEAST_NOISE <= c.judge_noise <= 5:
            raise ConfigError(f"option judge_noise: {c.judge_noise:g} is not between {render.world.LEAST_NOISE} and 5")
        if not 0 <= c.planted <= 1:
            raise ConfigError(f"option planted: {c.planted:g} is a share of the dives: between 0 and 1")
        if c.height != c.width:
            raise ConfigError(f"frames are square here: got height {c.height}, width {c.width}; give one size")
        if split == "train":
            dives, athletes = range(c.train_videos), range(c.train_athletes)
        else:
            dives = range(c.train_videos, c.train_videos + c.test_videos)
            athletes = range(c.train_athletes, c.train_athletes + c.test_athletes)
        return [render.Spec(c.seed, index, athletes[k % len(athletes)]) for k, index in enumerate(dives)]

    def renderer(self):
        """The function that the worker processes call for every spec."""
        config = self.builder_config
        return functools.partial(
            render.render, size=config.height, judge_noise=config.judge_noise, planted=config.planted
        )

    @classmethod
    def write_samples(cls, folder: str | os.PathLike[str], count: int) -> Path:
        """Dives by divers of no split, as mp4 files; see :func:`videos.write_videos`."""
        return videos.write_videos(folder, count=count)[0].parent / "truth.csv"

    def describe(self) -> dict:
        """Facts of the metadata beside the table."""
        return {
            "score_range": [0.0, 93.0],
            "judge_rule": "middle3_times_difficulty",
            "fault_costs": render.world.DEDUCTIONS,
        }
