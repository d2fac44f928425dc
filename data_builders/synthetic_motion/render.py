"""From a spec to the frames and the table row of one motion, in a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from . import world


class Spec(NamedTuple):
    """One video of the dataset."""

    seed: int
    number: int


def render(spec: Spec, *, size: int = world.SIZE) -> tuple[Iterator[np.ndarray], dict]:
    """Frames (uint8 [size, size, 3], RGB) and table row of a motion; its columns are ``world.TARGETS``.

    ``score``, which every dataset has, repeats ``turn_rate``.
    """
    motion = world.sample_motion(spec.seed, spec.number)
    row: dict = {
        "id": f"motion_{spec.number:06d}",
        "group": f"motion_{spec.number:06d}",
        "score": motion.targets["turn_rate"],
        "difficulty": None,
        "judges": [],
        "eval_start": 2,
        "sprite": motion.sprite,
        **motion.targets,
    }
    return world.render(motion, size=size), row
