"""Builder of the memory benchmark."""

import dataclasses
from collections.abc import Sequence

import tensorflow_datasets as tfds

from aqa_jax.data.builder import VideoBuilderConfig, VideoDatasetBuilder
from aqa_jax.data.encode import Renderer

from . import render


@dataclasses.dataclass(eq=False)
class Config(VideoBuilderConfig):
    """How many videos of how many frames."""

    videos: int = 1
    frames: int = 120


class Builder(VideoDatasetBuilder):
    """Videos without meaning."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: Sequence[Config] = [Config(name="default")]
    SPLITS = ("train",)

    def video_specs(self, split: str) -> Sequence[tuple[str, int]]:
        """All of one length."""
        return [(f"v{i}", self.builder_config.frames) for i in range(self.builder_config.videos)]

    def renderer(self) -> Renderer:
        """See render.py."""
        return render.render
