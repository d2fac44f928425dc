"""One fault in one place: what an explanation of a score should find.

A planted fault takes :data:`LENGTH` frames and costs up to :data:`COST` points out of ten, in proportion to how far it
shows. The dive's other faults are slight (:data:`ORDINARY` of what they are elsewhere), so this one decides.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

KINDS = ("wobble", "legs_apart", "arms_out")
COST = 4.5
LENGTH = 8
ORDINARY = 0.3
FRAMES = 52  # a window of 48 and a temporal shift of 0..4

_WIDEST = {"legs_apart": 0.9, "arms_out": 1.6}
_FIRST, _LAST = 5, FRAMES - LENGTH - 4  # first frames: in the flight, and in the window that is tested


@dataclasses.dataclass(frozen=True)
class Planted:
    """A fault of one of :data:`KINDS` in the frames ``first`` to ``first + LENGTH - 1``.

    Attributes:
      kind: ``wobble``: the body shakes; ``legs_apart``; ``arms_out``: they leave the body.
      first: its first frame.
      severity: .7 to 1; of what is seen and of the cost.
      direction: of the shaking, in radians.
    """

    kind: str
    first: int
    severity: float
    direction: float

    @property
    def cost(self) -> float:
        """Points out of ten."""
        return COST * self.severity

    def strength(self, frame: np.ndarray | float) -> np.ndarray:
        """How far it shows at a time in frames [...]: 0 outside, rising to ``severity`` within two frames."""
        inside = np.minimum(frame - self.first + 1, self.first + LENGTH - frame)
        return self.severity * np.clip(inside / 2, 0, 1)

    def shake(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a wobble moves the body by at these frames, along x and y, in units of the frame's side."""
        if self.kind != "wobble":
            return np.zeros_like(frame), np.zeros_like(frame)
        moved = 0.12 * self.strength(frame) * np.sin(2 * math.pi * (frame - self.first) / 3.4)
        return moved * math.cos(self.direction), moved * math.sin(self.direction)

    def spread(self, frame: float, kind: str) -> float:
        """Angle of each leg or arm to the body's axis, in radians, for ``legs_apart`` or ``arms_out``; 0: as ever."""
        return _WIDEST[kind] * float(self.strength(frame)) if self.kind == kind else 0.0


def draw(rng: np.random.Generator, share: float) -> Planted | None:
    """A fault for a ``share`` of all dives."""
    wanted, kind = rng.uniform() < share, KINDS[rng.integers(len(KINDS))]
    fault = Planted(kind, int(rng.integers(_FIRST, _LAST + 1)), rng.uniform(0.7, 1), rng.uniform(0, math.pi))
    return fault if wanted else None
