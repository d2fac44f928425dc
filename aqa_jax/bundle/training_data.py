"""What a bundle says of its training data and of the videos it takes, checked: nothing of it is believed.

Imports no jax: a video is decoded by it before the model is there.
"""

from typing import Any

import numpy as np

from aqa_jax.bundle import members
from aqa_jax.bundle.reader import Reader
from aqa_jax.config import Config
from aqa_jax.train.finished import TRAINED_ON

# More than anybody trains with, and still bounded.
_MAX_VIDEO_BYTES = 2**30
_MAX_SIDE = 4096
_MAX_COUNT = 100_000
MAX_TEXT = 200


def check_sizes(reader: Reader, config: Config) -> None:
    """Refuses a config whose model, or whose videos, would take more memory than any that was ever trained."""
    data, head = config.data, config.head
    counts = [data.window, data.clip_length, data.clip_stride, data.crop, config.adapter.rank, config.adapter.ratio]
    counts += [*head.hidden, head.bins, head.exemplars, head.pool, config.evaluate.mc_samples]
    counts += [100 * count for count in (config.predict.clips, config.predict.batch_size)]
    video = len(data.clip_starts) * data.clip_length * data.crop**2 * 3
    if max(counts) > _MAX_COUNT or video > _MAX_VIDEO_BYTES:
        raise reader.refused("its config asks for more memory than any model that is trained")


def training_data(reader: Reader, config: Config) -> dict[str, Any]:
    """What the bundle says of the videos that its model was trained on."""
    told = reader.json(members.TRAINED_ON, TRAINED_ON)
    try:
        sides = [int(side) for side in told["frame_size"]]
        limits = told["score_range"] and [float(score) for score in told["score_range"]]
        scores = [float(score) for score in told.get("scores", [])]
        if len(sides) != 2 or not all(config.data.crop <= side <= _MAX_SIDE for side in sides):
            raise ValueError(f"frame_size {sides}")
        if not np.isfinite([*(limits or []), *scores]).all() or len(limits or (0, 0)) != 2:
            raise ValueError("scores")
        return {
            "schema": TRAINED_ON,
            **{key: text(told[key]) for key in ("builder", "fingerprint")},
            "frame_size": sides,
            "videos": {text(split): int(count) for split, count in told["videos"].items()},
            "groups": [text(group) for group in told["groups"]],
            "score_range": limits,
            "scores": scores,
            "excluded_videos": int(told.get("excluded_videos", 0)),
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise reader.refused(f"{members.TRAINED_ON} does not say what it must ({error!r})") from None


def text(value: Any) -> str:
    """``value``; ValueError where it is no short, printable text."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > MAX_TEXT:
        raise ValueError("text")
    return value
