"""From a spec to the frames and the table row of one dive, in a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from . import planted as planted_faults
from . import world


class Spec(NamedTuple):
    """One dive of the dataset."""

    seed: int
    number: int
    athlete_id: int


def render(
    spec: Spec, *, size: int = world.SIZE, judge_noise: float = world.JUDGE_NOISE, planted: float = 0.0
) -> tuple[Iterator[np.ndarray], dict]:
    """Frames (uint8 [size, size, 3], RGB) and table row of a dive; columns are described in the README."""
    num_frames = planted_faults.FRAMES if planted else world.FRAMES
    dive = world.sample_dive(
        spec.seed, spec.number, spec.athlete_id, judge_noise=judge_noise, planted=planted, num_frames=num_frames
    )
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
    if planted:
        fault = dive.planted
        row["planted"] = fault.kind if fault else ""
        row["planted_first"] = fault.first if fault else None
        row["planted_last"] = fault.first + planted_faults.LENGTH - 1 if fault else None
        row["planted_cost"] = fault.cost if fault else None
    return world.render(dive, size=size, num_frames=num_frames), row
