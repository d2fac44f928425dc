import dataclasses
from typing import ClassVar

import tensorflow_datasets as tfds

from aqa_jax.data.builder import VideoBuilderConfig, VideoDatasetBuilder

from . import render


@dataclasses.dataclass(eq=False)
class Config(VideoBuilderConfig):
    height: int = render.HEIGHT
    width: int = render.WIDTH
    jpeg_quality: int = 100
    videos: int = 11
    fault: str = ""


class Builder(VideoDatasetBuilder):
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [Config(name="default")]

    def video_specs(self, split):
        count = self.builder_config.videos if split == "train" else 5
        return [(split, video, self.builder_config.fault) for video in range(count)]

    def renderer(self):
        return render.render

    def describe(self):
        return {"score_range": [0.0, 10.0]}
