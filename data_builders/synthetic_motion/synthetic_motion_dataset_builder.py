"""TFDS builder of the rendered motion that the starter backbone is pretrained on."""

from __future__ import annotations

import dataclasses
import functools

import tensorflow_datasets as tfds

from aqa_jax.data.builder import VideoBuilderConfig, VideoDatasetBuilder
from aqa_jax.errors import ConfigError

from . import render


@dataclasses.dataclass(eq=False)
class Config(VideoBuilderConfig):
    """How many videos, from which seed."""

    height: int = 32
    width: int = 32
    jpeg_quality: int = 95
    train_videos: int = 8000
    test_videos: int = 400
    seed: int = 0


class Builder(VideoDatasetBuilder):
    """Rendered motion; the targets are its parameters."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [Config(name="default")]  # noqa: RUF012  (tfds reads a list)

    def video_specs(self, split: str) -> list[render.Spec]:
        """The videos of ``split``, by consecutive indices."""
        c = self.builder_config
        if c.height != c.width:
            raise ConfigError(f"frames are square here: got height {c.height}, width {c.width}; give one size")
        first, count = (0, c.train_videos) if split == "train" else (c.train_videos, c.test_videos)
        return [render.Spec(c.seed, first + k) for k in range(count)]

    def renderer(self):
        """The function that the worker processes call for every spec."""
        return functools.partial(render.render, size=self.builder_config.height)

    def describe(self) -> dict:
        """Facts of the metadata beside the table."""
        return {"score_range": [0.0, 1.5], "judge_rule": "none", "targets": render.world.TARGETS}
