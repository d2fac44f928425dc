"""Which frames the pace task sees: a clip of which one segment is played at another speed (PECoP's VSPP)."""

from dataclasses import dataclass

import numpy as np

from aqa_jax.errors import ConfigError, DataError

PUBLISHED_PACES = 5


@dataclass(frozen=True)
class PaceWindow:
    """One clip of equal segments; all but one advance by `base_step` frames, that one by another pace.

    Attributes:
      clip_length: frames of a clip, T.
      segments: number of segments, N; T is a multiple of it.
      base_step: frames that the clip advances by outside the chosen segment (PECoP: 3 for gait, else 1).
      paces: frames that the chosen segment may advance by.
      faithful: as PECoP's code has it: the segment holds one frame more (its bound is inclusive), the clip may start
        anywhere and goes on at the video's start when it ends, and classes are the paces 1 to 5, though one never
        occurs. Otherwise a clip starts where even the fastest one fits, so that neither its start nor a jump tells the
        pace; only a shorter video is played in a loop.
    """

    clip_length: int = 32
    segments: int = 4
    base_step: int = 1
    paces: tuple[int, ...] = (2, 3, 4, 5)
    faithful: bool = False

    def __post_init__(self) -> None:
        if self.segments < 2 or self.clip_length % self.segments:
            raise ConfigError(f"a clip of {self.clip_length} frames cannot be cut into {self.segments} equal segments")
        if self.base_step < 1 or len(set(self.paces)) < 2 or min(self.paces) < 1 or self.base_step in self.paces:
            raise ConfigError(
                f"paces {self.paces} must be at least two different numbers of frames, without the base step of "
                f"{self.base_step}"
            )
        if self.faithful and max(self.paces) > PUBLISHED_PACES:
            raise ConfigError(f"the published classes are the paces 1 to {PUBLISHED_PACES}, not {self.paces}")

    @property
    def labels(self) -> tuple[str, ...]:
        """The two classes of an example."""
        return "segment", "pace"

    @property
    def num_clips(self) -> int:
        """One clip an example."""
        return 1

    @property
    def window(self) -> int:
        """Frames that a video must have."""
        return self.clip_length

    @property
    def pace_classes(self) -> tuple[int, ...]:
        """The pace of each class."""
        return tuple(range(1, PUBLISHED_PACES + 1)) if self.faithful else tuple(sorted(self.paces))

    def frames(self, num_frames: int, start: int, segment: int, pace: int) -> np.ndarray:
        """Frame numbers, int64 [1, T], of the clip from frame `start` that plays `segment` (from 0) at `pace`."""
        if num_frames < self.clip_length:
            raise DataError(f"a video of {num_frames} frames is shorter than the clip of {self.clip_length}")
        length = self.clip_length // self.segments
        steps = np.full(self.clip_length, self.base_step)
        steps[segment * length : (segment + 1) * length + self.faithful] = pace
        if not self.faithful:
            return ((start + np.concatenate([[0], np.cumsum(steps[:-1])])) % num_frames)[None]
        # The original goes back to the first frame, not to the frame that a loop would reach.
        position, positions = start, []
        for step in steps:
            positions.append(position)
            position = position + step if position + step < num_frames else 0
        return np.array(positions, np.int64)[None]

    def reach(self, num_frames: np.ndarray) -> np.ndarray:
        """All frames of each video: a clip may start anywhere."""
        return num_frames

    def draw(self, num_frames: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
        """A random clip: frame numbers int64 [1, T], and the classes of segment and pace."""
        return self._clip(num_frames, int(rng.integers(self.segments)), int(rng.integers(len(self.paces))), rng)

    def fixed(
        self, num_frames: int, eval_start: int, row: int, view: int, views: int, seed: int
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """The clip of a video's n-th view, the same at every evaluation; all pairs of classes are equally frequent."""
        segment, pace = divmod((row * views + view) % (self.segments * len(self.paces)), len(self.paces))
        return self._clip(num_frames, segment, pace, np.random.default_rng((seed, row, view)))

    def _clip(
        self, num_frames: int, segment: int, pace_index: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, tuple[int, int]]:
        pace = sorted(self.paces)[pace_index]
        longest = self.base_step * self.clip_length
        longest += (max(*self.paces, self.base_step) - self.base_step) * (self.clip_length // self.segments)
        starts = num_frames if self.faithful else max(num_frames - longest, 0) + 1
        frames = self.frames(num_frames, int(rng.integers(starts)), segment, pace)
        return frames, (segment, self.pace_classes.index(pace))

    def shuffled(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The same frames in another order: a control without the motion."""
        return frames[:, rng.permutation(self.clip_length)]
