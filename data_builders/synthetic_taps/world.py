"""A small world of rendered finger tapping, or stepping, of known severity (numpy and OpenCV only).

A large hand in front of a plain background opens and closes thumb and index finger; or two legs swing. The
severity is read off *how the movement runs over time*: its slowing, how much the opening shrinks towards the
end, how often it halts, how irregular it is. How wide and how fast a patient naturally moves, the looks and
the view are drawn independently of it. The finger's speed hardly varies within a cycle, so that the pace at
which a few frames are played can be seen wherever they lie. Everything is a function of (seed, patient, index).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from aqa_jax.errors import ConfigError

FRAMES = 160  # of a video
FEWEST_FRAMES = 64  # below, there would be no room for the halts
SIZE = 36  # pixels a side: room for crops of 32
MOVEMENTS = ("tap", "step")
SIDES = ("left", "right")
FRAMES_PER_SECOND = 25.0
GRAIN = 2.0  # standard deviation of the pixel noise, in grey levels

# Weights of the factors of severity; each is uniform in 0 (none) .. 1 (worst).
FACTORS = {"slowing": 0.35, "decrement": 0.3, "hesitation": 0.25, "irregularity": 0.1}
SHARED = 0.1  # correlation of the factors of one video
PATIENT_SHARE, SIDE_SHARE = 0.4, 0.2  # parts of the shared variance; the visit has the rest
CENTRE, SPREAD = 0.53, 0.19  # of the weighted sum that becomes a severity
RATER_SIGMA = 0.3  # of the rater's error, in points of severity

NATURAL_PERIOD = (24.0, 34.0)  # frames a cycle, without slowing
SLOWEST = 1.7  # factor that the worst slowing puts on the period
NATURAL_OPENING = (0.32, 0.56)  # of the frame's side: 12 to 20 pixels of 36
LARGEST_DECREMENT = 0.6  # share of the opening that the worst decrement loses by the end
MOST_HALTS = 4  # in 160 frames
HALT_FRAMES = (5.0, 9.0)
JITTER = (0.02, 0.1)  # from cycle to cycle, as a share of period and opening, by irregularity
ROUNDNESS = 0.99  # of the triangular wave's turns: 1 is sharp

_PATIENT_STREAM, _SIDE_STREAM, _VIDEO_STREAM, _PIXEL_STREAM = 1, 2, 3, 4
_SHIFT = 4  # fractional bits of the coordinates that OpenCV takes

Draw = Callable[[np.ndarray, float], None]  # onto a canvas, at an opening


@dataclasses.dataclass(frozen=True)
class Patient:
    """How one patient looks and naturally moves: RGB in 0..255, lengths in units of the frame's side."""

    patient_id: int
    stage: float  # standard normal: how ill, on the whole
    period: float  # frames a cycle
    opening: float
    skin: tuple[float, ...]
    sleeve: tuple[float, ...]
    background: tuple[float, ...]
    scale: float
    girth: float
    angle: float  # radians


@dataclasses.dataclass(frozen=True)
class Video:
    """Truth of one video; the factors are in 0 (none) .. 1 (worst)."""

    index: int
    seed: int
    patient: Patient
    movement: str
    side: str
    num_frames: int
    factors: dict[str, float]
    severity: float  # 0..4
    score: int  # the severity as a rater sees it
    period: float  # frames a cycle, with the slowing
    opening: float  # of the first cycles, in units of the frame's side
    decrement: float  # share of the opening lost by the last frame
    halts: tuple[tuple[float, float], ...]  # (start, length) in frames
    jitter: float
    view: dict[str, float]

    @property
    def halted(self) -> float:
        """Frames in halts, all together."""
        return sum(length for _, length in self.halts)

    @property
    def rate(self) -> float:
        """Cycles a second at 25 frames a second, halts aside."""
        return FRAMES_PER_SECOND / self.period


def _uniform(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def check(*, side: str = "right", movement: str = "tap", num_frames: int = FRAMES) -> None:
    """ConfigError, unless there is such a side and movement, and enough frames."""
    for what, value, known in (("side", side, SIDES), ("movement", movement, MOVEMENTS)):
        if value not in known:
            raise ConfigError(f"there is no {what} {value!r}; there are {' and '.join(known)}")
    if num_frames < FEWEST_FRAMES:
        raise ConfigError(f"a video has {FEWEST_FRAMES} frames or more, got {num_frames}")


def sample_patient(seed: int, patient_id: int) -> Patient:
    """The looks and habits of a patient, a function of (seed, patient_id)."""
    rng = np.random.default_rng([seed, _PATIENT_STREAM, patient_id])
    tone = rng.uniform(0.0, 1.0)
    skin = np.array([240.0, 200.0, 172.0]) * (1 - 0.22 * tone) + rng.uniform(-6, 6, 3)
    hue = rng.uniform(-25, 25, 3)
    return Patient(
        patient_id=patient_id,
        stage=rng.standard_normal(),
        period=rng.uniform(*NATURAL_PERIOD),
        opening=rng.uniform(*NATURAL_OPENING),
        skin=tuple(np.clip(skin, 0, 255).tolist()),
        sleeve=tuple((np.array([85.0, 90.0, 105.0]) + hue).tolist()),
        background=tuple((rng.uniform(40, 75) + rng.uniform(-6, 6, 3)).tolist()),
        scale=rng.uniform(0.9, 1.1),
        girth=rng.uniform(0.15, 0.185),
        angle=rng.uniform(-0.3, 0.3),
    )


def sample_video(
    seed: int, index: int, patient_id: int, side: str = "right", *, movement: str = "tap", num_frames: int = FRAMES
) -> Video:
    """Draw the truth of video ``index``: a visit of a patient who moves the hand (or faces the way) of ``side``.

    The severity of a patient's videos differs by side and by visit.

    Raises:
      ConfigError: no such side or movement, or fewer than 64 frames.
    """
    check(side=side, movement=movement, num_frames=num_frames)
    patient = sample_patient(seed, patient_id)
    of_side = np.random.default_rng([seed, _SIDE_STREAM, patient_id, SIDES.index(side)]).standard_normal()
    rng = np.random.default_rng([seed, _VIDEO_STREAM, index])
    shared = math.sqrt(PATIENT_SHARE) * patient.stage + math.sqrt(SIDE_SHARE) * of_side
    shared += math.sqrt(1 - PATIENT_SHARE - SIDE_SHARE) * rng.standard_normal()
    factors = {
        name: _uniform(math.sqrt(SHARED) * shared + math.sqrt(1 - SHARED) * rng.standard_normal()) for name in FACTORS
    }
    total = sum(weight * factors[name] for name, weight in FACTORS.items())
    severity = 4 * _uniform((total - CENTRE) / SPREAD)
    score = int(np.clip(round(severity + RATER_SIGMA * rng.standard_normal()), 0, 4))
    count = int(factors["hesitation"] * (MOST_HALTS * num_frames / FRAMES + 1) * 0.999)
    # One halt in each of equal parts of the video: halts never overlap.
    part = num_frames / max(count, 1)
    halts = []
    for k in range(count):
        length = rng.uniform(*HALT_FRAMES)
        halts.append((k * part + rng.uniform(0, part - length), length))
    return Video(
        index=index,
        seed=seed,
        patient=patient,
        movement=movement,
        side=side,
        num_frames=num_frames,
        factors=factors,
        severity=severity,
        score=score,
        period=patient.period * rng.uniform(0.95, 1.05) * SLOWEST ** factors["slowing"],
        opening=float(np.clip(patient.opening * rng.uniform(0.92, 1.08), 0.3, 0.58)),
        decrement=LARGEST_DECREMENT * factors["decrement"],
        halts=tuple(halts),
        jitter=JITTER[0] + (JITTER[1] - JITTER[0]) * factors["irregularity"],
        view={
            "phase": rng.uniform(),
            "x": rng.uniform(-0.035, 0.035),
            "y": rng.uniform(-0.035, 0.035),
            "angle": rng.uniform(-0.1, 0.1),
            "scale": rng.uniform(0.96, 1.04),
            "light": rng.uniform(0.94, 1.06),
        },
    )


def motion(video: Video) -> np.ndarray:
    """The opening in each frame, float [T] in units of the frame's side: 0 closed (tap), or signed (step)."""
    rng = np.random.default_rng([video.seed, _PIXEL_STREAM, video.index])
    t = np.arange(video.num_frames, dtype=np.float64)
    halted = np.zeros_like(t)
    for start, length in video.halts:
        halted += np.clip(t - start, 0, length)
    moving = t - halted
    cycles = int(video.num_frames / video.period) * 2 + 4
    lengths = video.period * np.exp(video.jitter * np.clip(rng.standard_normal(cycles), -2, 2))
    sizes = np.exp(video.jitter * np.clip(rng.standard_normal(cycles), -2, 2))
    ends = np.concatenate([[0], np.cumsum(lengths)]) - video.view["phase"] * lengths[0]
    phase = np.interp(moving, ends, np.arange(cycles + 1))
    # The size changes where the fingers meet (phase .5), so that the movement has no jump.
    size = sizes[np.floor(phase + 0.5).astype(int)] * video.opening
    size = np.minimum(size, NATURAL_OPENING[1] * 1.12) * (1 - video.decrement * t / t[-1])
    wave = np.arcsin(ROUNDNESS * np.cos(2 * math.pi * phase)) / math.asin(ROUNDNESS)
    return size * (0.5 + 0.5 * wave) if video.movement == "tap" else size * wave


def _point(values: np.ndarray, side: int) -> tuple[int, ...]:
    return tuple(round(float(v) * side * 2**_SHIFT) for v in values)


def _stroke(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, width: float, colour: np.ndarray) -> None:
    side = canvas.shape[0]
    thickness = max(1, round(width * side))
    shade = tuple(float(c) for c in colour)
    cv2.line(canvas, _point(a, side), _point(b, side), shade, thickness, cv2.LINE_8, _SHIFT)


def _heading(angle: float) -> np.ndarray:
    """The unit vector that ``angle`` radians turn up from the right; y runs down."""
    return np.array([math.cos(angle), -math.sin(angle)])


def _hand(video: Video, plate: np.ndarray, skin: np.ndarray, sleeve: np.ndarray) -> Draw:
    """Draw what rests of a hand, and return what draws the fingers at an opening."""
    patient, view = video.patient, video.view
    scale = patient.scale * view["scale"]
    tilt = patient.angle + view["angle"] + 0.1
    wrist = np.array([0.2 + view["x"], 0.62 + view["y"]])
    along = _heading(tilt)
    knuckle = wrist + 0.15 * scale * along
    _stroke(plate, wrist - 0.8 * along, wrist, 0.25 * scale, sleeve)
    _stroke(plate, wrist, knuckle, 0.29 * scale, 0.93 * skin)
    length, girth = 0.47 * scale, patient.girth * scale

    def fingers(canvas: np.ndarray, opening: float) -> None:
        bend = opening / length
        thumb = knuckle + 0.92 * length * _heading(tilt - 0.06 - 0.35 * bend)
        index = knuckle + length * _heading(tilt + 0.06 + 0.65 * bend)
        _stroke(canvas, knuckle, thumb, girth, 0.86 * skin)
        _stroke(canvas, knuckle, index, girth, skin)

    return fingers


def _legs(video: Video, plate: np.ndarray, skin: np.ndarray, sleeve: np.ndarray) -> Draw:
    """Draw what rests of a walker, and return what draws the legs at an opening."""
    patient, view = video.patient, video.view
    scale = patient.scale * view["scale"]
    hip = np.array([0.5 + view["x"], 0.3 + view["y"]])
    lean = patient.angle + view["angle"]
    _stroke(plate, hip, hip + 0.5 * _heading(math.pi / 2 + 0.3 * lean), 0.26 * scale, sleeve)
    length, girth = 0.52 * scale, patient.girth * scale

    def legs(canvas: np.ndarray, opening: float) -> None:
        swing = opening / length
        down = -math.pi / 2 + 0.3 * lean
        _stroke(canvas, hip, hip + length * _heading(down - swing / 2), girth, 0.7 * skin)
        _stroke(canvas, hip, hip + length * _heading(down + swing / 2), girth, skin)

    return legs


def render(video: Video, *, size: int = SIZE) -> np.ndarray:
    """Draw a video: uint8 [T, size, size, 3], RGB; at any size the same movement."""
    finer = 4 if size <= 64 else 2  # drawn this much larger, then averaged: movement below a pixel shows
    light = video.view["light"]
    skin, sleeve, background = (
        np.clip(light * np.array(getattr(video.patient, name)), 0, 255) for name in ("skin", "sleeve", "background")
    )
    plate = np.empty((size * finer, size * finer, 3), np.uint8)
    plate[:] = np.round(background)
    scene = _hand if video.movement == "tap" else _legs
    draw = scene(video, plate, skin, sleeve)
    frames = np.empty((video.num_frames, size, size, 3), np.uint8)
    canvas = np.empty_like(plate)
    for i, opening in enumerate(motion(video)):
        np.copyto(canvas, plate)
        draw(canvas, float(opening))
        cv2.resize(canvas, (size, size), dst=frames[i], interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng([video.seed, _PIXEL_STREAM, video.index, 1])
    grain = (rng.standard_normal((video.num_frames, SIZE, SIZE), np.float32) * GRAIN).round().astype(np.int16)
    if size != SIZE:
        grain = np.stack([cv2.resize(g, (size, size), interpolation=cv2.INTER_NEAREST) for g in grain])
    noisy = np.clip(frames + grain[..., None], 0, 255).astype(np.uint8)
    # Everything is drawn as a right hand; a left one is its mirror image.
    return noisy[:, :, ::-1] if video.side == "left" else noisy
