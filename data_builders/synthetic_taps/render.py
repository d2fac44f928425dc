"""From a spec to the frames and the table row of one video, in a worker process."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import world


class Spec(NamedTuple):
    """One video of the dataset."""

    seed: int
    number: int
    patient_id: int
    side: str
    movement: str
    num_frames: int
    labelled: bool


def truth(video: world.Video) -> dict:
    """What is known of a video, by the names of the table's columns, which the README describes."""
    facts = {
        "score": float(video.score),
        "severity": video.severity,
        "rate": video.rate,
        "opening": video.opening,
        "decrement": video.decrement,
        "halts": len(video.halts),
        "halted_frames": video.halted,
        "jitter": video.jitter,
    }
    return facts | {f"factor_{name}": value for name, value in video.factors.items()}


def render(spec: Spec, *, size: int = world.SIZE) -> tuple[np.ndarray, dict]:
    """Frames (uint8 [T, size, size, 3], RGB) and table row of a video; unlabelled, the row holds no truth."""
    video = world.sample_video(
        spec.seed, spec.number, spec.patient_id, spec.side, movement=spec.movement, num_frames=spec.num_frames
    )
    row: dict[str, Any] = {
        "id": f"{spec.movement}_{spec.number:07d}",
        "group": f"patient_{spec.patient_id:05d}",
        "difficulty": None,
        "judges": [],
        "eval_start": 0,
        "side": spec.side,
        "movement": spec.movement,
    }
    known = truth(video)
    return world.render(video, size=size), row | (known if spec.labelled else dict.fromkeys(known))
