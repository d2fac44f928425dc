"""Which frames of a video a model sees: index arithmetic only, no pixels."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aqa_jax.config_keys import DataConfig
from aqa_jax.errors import ConfigError, DataError


class Sampler(Protocol):
    """Chooses the frames of one example; `frames` are int64 [S, T], `labels` one class for each name."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of what a draw decides beside the frames."""
        ...

    @property
    def window(self) -> int:
        """Frames that a video must have."""
        ...

    @property
    def num_clips(self) -> int:
        """Number of clips, S."""
        ...

    @property
    def clip_length(self) -> int:
        """Frames of a clip, T."""
        ...

    def reach(self, num_frames: np.ndarray) -> np.ndarray:
        """Of videos with this many frames each, how many a training can ever ask for, at most."""
        ...

    def draw(self, num_frames: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, ...]]:
        """Frames and labels for training."""
        ...

    def fixed(
        self, num_frames: int, eval_start: int, row: int, view: int, views: int, seed: int
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """Frames and labels of one view for a test: the same every time."""
        ...

    def shuffled(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The same frames without their order."""
        ...


@dataclass(frozen=True)
class ClipWindow:
    """Overlapping clips inside a window of consecutive frames.

    The defaults are MTL-AQA's: 103 frames, ten clips of 16, the window moved by up to six frames in training
    (USDL/MUSDL and DAE; CoRe's plus or minus three around the published window is the same range of starts).

    Attributes:
      window: frames of the window.
      clip_length: frames of one clip, T.
      clip_starts: first frame of each of the S clips, counted from the window's first.
      clip_stride: from one frame of a clip to its next.
      max_shift: in training the window starts at 0..max_shift, or as far as the video reaches.
      spread: the window's frames are spread evenly over the whole video instead (MUSDL on JIGSAWS), and nothing is
        shifted.
    """

    window: int = 103
    clip_length: int = 16
    clip_starts: tuple[int, ...] = (0, 10, 20, 30, 40, 50, 60, 70, 80, 87)
    max_shift: int = 6
    clip_stride: int = 1
    spread: bool = False

    def __post_init__(self) -> None:
        if not self.clip_starts or self.clip_length < 1 or self.max_shift < 0 or min(self.clip_starts) < 0:
            raise ConfigError(f"impossible clips: {self}")
        if self.clip_stride < 1:
            raise ConfigError(f"a clip cannot advance by {self.clip_stride} frames")
        if self.spread and self.max_shift:
            raise ConfigError(f"a window spread over the whole video cannot be shifted by {self.max_shift} frames")
        if (end := max(self.clip_starts) + (self.clip_length - 1) * self.clip_stride + 1) > self.window:
            raise ConfigError(f"the last clip ends at frame {end}, the window has {self.window} frames")

    @property
    def labels(self) -> tuple[str, ...]:
        """None: the frames are all that is drawn."""
        return ()

    @property
    def num_clips(self) -> int:
        """Number of clips, S."""
        return len(self.clip_starts)

    def max_start(self, num_frames: int) -> int:
        """Last frame at which the window may start; DataError when the video is shorter than the window."""
        if num_frames < self.window:
            raise DataError(f"a video of {num_frames} frames is shorter than the window of {self.window}")
        return min(self.max_shift, num_frames - self.window)

    def frames(self, start: int) -> np.ndarray:
        """Frame numbers of the clips of a window that starts at `start`, int64 [S, T]."""
        return start + np.array(self.clip_starts)[:, None] + np.arange(self.clip_length) * self.clip_stride

    def reach(self, num_frames: np.ndarray) -> np.ndarray:
        """Frames of each video that a window can hold, wherever it starts: int64 [N]."""
        return np.minimum(num_frames, self.window if self.spread else self.window + self.max_shift)

    def train(self, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Frame numbers for training, int64 [S, T]: the window at a random shift, if it has any."""
        if self.spread:
            return self._spread(num_frames)
        return self.frames(int(rng.integers(self.max_start(num_frames) + 1)))

    def evaluate(self, num_frames: int, eval_start: int, view: int = 0, num_views: int = 1) -> np.ndarray:
        """Frame numbers for a test, int64 [S, T].

        A single view is the published window, which starts at `eval_start`; several views are spread
        evenly over the starts that training uses.
        """
        if self.spread:
            return self._spread(num_frames)
        last = self.max_start(num_frames)
        if num_views > 1:
            return self.frames(round(view * last / (num_views - 1)))
        if not 0 <= eval_start <= num_frames - self.window:
            raise DataError(f"a window of {self.window} frames from frame {eval_start} leaves the {num_frames} stored")
        return self.frames(eval_start)

    def _spread(self, num_frames: int) -> np.ndarray:
        self.max_start(num_frames)
        # Rounded down, as MUSDL does.
        return np.linspace(0, num_frames - 1, self.window).astype(np.int64)[self.frames(0)]

    def draw(self, num_frames: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, ...]]:
        """See `train`."""
        return self.train(num_frames, rng), ()

    def fixed(
        self, num_frames: int, eval_start: int, row: int, view: int, views: int, seed: int
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """See `evaluate`."""
        return self.evaluate(num_frames, eval_start, view, views), ()

    def shuffled(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The same clips after permuting the window's frames: a control without the motion."""
        if self.spread:
            seen, place = np.unique(frames, return_inverse=True)
            return rng.permutation(seen)[place.reshape(frames.shape)]
        start = int(frames.min()) - min(self.clip_starts)
        return start + rng.permutation(self.window)[frames - start]


def clip_window(data: DataConfig) -> ClipWindow:
    """The clips that a score is read from, as ``config.data`` has them."""
    spread = data.window_mode == "linspace"
    return ClipWindow(data.window, data.clip_length, data.clip_starts, data.max_shift, data.clip_stride, spread)
