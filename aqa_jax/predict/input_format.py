"""What a model takes of a video. Known from small files, before jax is loaded and the model restored."""

from dataclasses import dataclass
from pathlib import Path

from aqa_jax.bundle import is_bundle
from aqa_jax.config import Config
from aqa_jax.data.sampling import ClipWindow, clip_window
from aqa_jax.errors import AqaError
from aqa_jax.files import read_json
from aqa_jax.train.finished import TRAINED_ON, is_crossval


@dataclass(frozen=True)
class InputFormat:
    """Which frames, resized to frame_size, then cropped; (height, width) in pixels."""

    window: ClipWindow
    frame_size: tuple[int, int]
    crop_size: tuple[int, int]

    @classmethod
    def of(cls, config: Config, frame_size: tuple[int, int]) -> "InputFormat":
        """Of a model that was trained under ``config`` on frames stored in ``frame_size``."""
        return cls(clip_window(config.data), frame_size, (config.data.crop, config.data.crop))


def expected(config: Config, workdir: Path) -> InputFormat | None:
    """What the model in ``workdir``, or in the bundle there, will take; None where only the model can tell.

    What is wrong with the files is for whoever restores the model to say: None too.
    """
    try:
        if is_bundle(workdir):
            from aqa_jax.bundle.reader import Reader
            from aqa_jax.bundle.training_data import check_sizes, training_data

            reader = Reader(workdir)
            check_sizes(reader, config)
            about = training_data(reader, config)
        elif is_crossval(workdir):
            return None
        else:
            about = read_json(workdir / "trained_on.json", TRAINED_ON)
        height, width = about["frame_size"]
        return InputFormat.of(config, (height, width))
    except (AqaError, KeyError, TypeError, ValueError):
        return None
