"""One small dataset, built once, for the tests of the data package."""

from pathlib import Path

import pytest

from aqa_jax.data.build import build
from aqa_jax.data.video_store import VideoStore

TOY = str(Path(__file__).parent / "toy_videos")


@pytest.fixture(scope="session")
def toy_dir(tmp_path_factory):
    return build(TOY, data_dir=tmp_path_factory.mktemp("toy"), workers=0)


@pytest.fixture(scope="session")
def toy(toy_dir):
    return VideoStore.open(toy_dir)
