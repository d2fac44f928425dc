"""From a spec to the frames and the table row of one dive, in a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from . import world


class Spec(NamedTuple):
    """One dive of the dataset."""

    seed: int
    number: int
    athlete_id: int


def render(
    spec: Spec, *, size: int = world.SIZE, judge_noise: float = world.JUDGE_NOISE
) -> tuple[Iterator[np.ndarray], dict]:
    """Frames (uint8 [size, size, 3], RGB) and table row of a dive; columns are described in the README."""
    dive = world.sample_dive(spec.seed, spec.number, spec.athlete_id, judge_noise=judge_noise)
    row = {
        "id": f"dive_{spec.number:05d}",
        "group": f"athlete_{spec.athlete_id:04d}",
        "score": dive.score,
        "difficulty": dive.difficulty,
        "judges": list(dive.judges),
        "eval_start": 2,
        "judge_sigma": dive.judge_sigma,
        "true_quality": dive.true_quality,
        "position": dive.position,
        "rotation_type": dive.rotation_type,
        "ss_no": dive.ss_no,
        "tw_no": dive.tw_no,
    }
    row |= {f"fault_{name}": value for name, value in dive.faults.items()}
    return world.render(dive, size=size), row
