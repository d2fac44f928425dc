"""Builder of the input benchmark."""

import dataclasses
from collections.abc import Sequence

import tensorflow_datasets as tfds

from aqa_jax.data.builder import VideoBuilderConfig, VideoDatasetBuilder
from aqa_jax.data.encode import Renderer

from . import render


@dataclasses.dataclass(eq=False)
class Config(VideoBuilderConfig):
    """Frames are stored as the dives of MTL-AQA are: the defaults of every builder."""


class Builder(VideoDatasetBuilder):
    """Folders of images, a video each."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: Sequence[Config] = [Config(name="default")]
    SPLITS = ("train",)
    MANUAL_DOWNLOAD_INSTRUCTIONS = "A folder of folders of images."

    def video_specs(self, split: str) -> Sequence[render.Folder]:
        """A folder each."""
        size = (self.builder_config.height, self.builder_config.width)
        return [render.Folder(str(path), size) for path in sorted(self.raw_dir.iterdir())]

    def renderer(self) -> Renderer:
        """See render.py."""
        return render.render
