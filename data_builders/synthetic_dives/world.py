"""A small world of rendered dives with known truth (numpy and OpenCV only).

A diver of a few pixels somersaults in front of a plain background, followed by the camera. What the judges
deduct for are *rates and phases over time*: how often the rotation stutters, whether it speeds up towards the
entry or slows down, how fast the body sways, how long it hesitates. Amplitudes are drawn independently of the
quality, so a single frame, the mean frame or the amount of motion say little about the score. Everything is a
function of (seed, index).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import cv2
import numpy as np

from .planted import ORDINARY, Planted, draw

FRAMES = 36  # stored frames: a window of 32 and a temporal shift of 0..4
SIZE = 32  # pixels a side
NUM_JUDGES = 7
SUPERSAMPLE = 3  # drawn this much larger, then averaged: anti-aliasing at sub-pixel motion
POSITIONS = ("tuck", "pike", "straight")
ROTATION_TYPES = ("forward", "back", "reverse", "inward")

# Points out of ten that the worst case of each fault costs.
DEDUCTIONS = {"rush": 3.8, "sway": 2.8, "hesitation": 1.5, "stutter": 0.7, "entry": 0.2, "opening": 0.2}
SHARED_SKILL = 0.3  # correlation of the faults of one dive
BEST_QUALITY = 9.8
LEAST_NOISE, JUDGE_NOISE = 0.15, 0.9  # standard deviation of a judge in clear air and in the thickest mist, in points

_ATHLETE_STREAM, _DIVE_STREAM, _PIXEL_STREAM, _PLANTED_STREAM = 1, 2, 3, 4


@dataclasses.dataclass(frozen=True)
class Athlete:
    """Looks of one diver: colours are RGB in 0..255, lengths in units of the frame's side."""

    skin: tuple[float, ...]
    suit: tuple[float, ...]
    hair: tuple[float, ...]
    length: float
    girth: float


@dataclasses.dataclass(frozen=True)
class Dive:
    """Truth of one dive; faults are in 0 (none) .. 1 (worst)."""

    index: int
    seed: int
    athlete_id: int
    athlete: Athlete
    position: int
    rotation_type: int
    ss_no: int
    tw_no: int
    difficulty: float
    faults: dict[str, float]
    true_quality: float
    judge_sigma: float
    judges: tuple[float, ...]
    score: float
    nuisance: dict[str, float]
    planted: Planted | None = None


def sample_athlete(seed: int, athlete_id: int) -> Athlete:
    """The looks of an athlete, a function of (seed, athlete_id)."""
    rng = np.random.default_rng([seed, _ATHLETE_STREAM, athlete_id])
    skin = np.array([250.0, 205.0, 175.0]) * rng.uniform(0.9, 1.0)
    return Athlete(
        skin=tuple(np.clip(skin, 20, 250)),
        suit=tuple(rng.uniform(0, 70, 3)),
        hair=tuple(rng.uniform(0, 40, 3)),
        length=rng.uniform(0.62, 0.72),
        girth=rng.uniform(0.15, 0.19),
    )


def judges_score(judges: np.ndarray, difficulty: float) -> float:
    """Sum of the middle three of seven judges times the difficulty, as in diving."""
    middle = np.sort(np.asarray(judges))[2:5]
    return float(middle.sum() * difficulty)


def sample_dive(
    seed: int,
    index: int,
    athlete_id: int,
    *,
    judge_noise: float = JUDGE_NOISE,
    planted: float = 0.0,
    num_frames: int = FRAMES,
) -> Dive:
    """Draw the truth of dive ``index``: the faults, what they cost, what seven noisy judges made of it.

    The judges' standard deviation grows with the mist, which shows in the frames, up to ``judge_noise`` points. With
    ``planted``, that share of the dives has a fault of :mod:`planted`, and all others are slight.
    """
    rng = np.random.default_rng([seed, _DIVE_STREAM, index])
    ss_no = int(rng.integers(2, 5))
    tw_no = int(rng.integers(0, 3))
    position = int(rng.integers(0, 3))
    difficulty = round(2.5 + 0.1 * (ss_no - 2) + 0.1 * tw_no + 0.1 * position, 1)

    skill = rng.standard_normal()
    faults = {}
    for name in DEDUCTIONS:
        z = math.sqrt(SHARED_SKILL) * skill + math.sqrt(1 - SHARED_SKILL) * rng.standard_normal()
        faults[name] = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    fault = None
    if planted:
        faults = {name: ORDINARY * value for name, value in faults.items()}
        fault = draw(np.random.default_rng([seed, _PLANTED_STREAM, index]), planted)
    quality = BEST_QUALITY - sum(cost * faults[name] for name, cost in DEDUCTIONS.items())
    quality -= fault.cost if fault else 0.0

    mist = rng.uniform()
    judge_sigma = LEAST_NOISE + (judge_noise - LEAST_NOISE) * mist**2
    marks = np.clip(np.round(2 * (quality + judge_sigma * rng.standard_normal(NUM_JUDGES))) / 2, 0, 10)
    nuisance = {
        "mist": mist,
        "takeoff": rng.uniform(1.0, 3.5),
        "entry": rng.uniform(num_frames - 6.0, num_frames - 3.0),
        "stutter_depth": rng.uniform(0.35, 0.55),
        "stutter_phase": rng.uniform(0, 2 * math.pi),
        "sway_size": 0.13 * rng.uniform(0.8, 1.2),
        "sway_phase": rng.uniform(0, 2 * math.pi),
        "sway_angle": rng.uniform(0, math.pi),
        "hesitation_at": rng.uniform(0.15, 0.6),
        "entry_sign": rng.choice([-1.0, 1.0]),
        "direction": rng.choice([-1.0, 1.0]),
        "lean": rng.uniform(-0.25, 0.25),
        "splash": rng.uniform(0.2, 1.0),
        "light": rng.uniform(0.92, 1.08),
        "offset_x": rng.uniform(-0.05, 0.05),
        "offset_y": rng.uniform(-0.05, 0.05),
    }
    return Dive(
        index=index,
        seed=seed,
        athlete_id=athlete_id,
        athlete=sample_athlete(seed, athlete_id),
        position=position,
        rotation_type=int(rng.integers(0, 4)),
        ss_no=ss_no,
        tw_no=tw_no,
        difficulty=difficulty,
        faults=faults,
        true_quality=quality,
        judge_sigma=judge_sigma,
        judges=tuple(float(m) for m in marks),
        score=judges_score(marks, difficulty),
        nuisance=nuisance,
        planted=fault,
    )


@dataclasses.dataclass(frozen=True)
class Pose:
    """Where the body is in each frame: arrays [T], radians, lengths in units of the frame's side."""

    angle: np.ndarray
    fold: np.ndarray  # 0 straight .. 1 folded
    x: np.ndarray
    y: np.ndarray
    flight: np.ndarray  # 0 at take-off .. 1 at entry, beyond outside
    twist: np.ndarray


def motion(dive: Dive, num_frames: int = FRAMES) -> Pose:
    """Body angle, folding and sway over time; the rotation totals ``ss_no`` half turns, however uneven."""
    n, faults = dive.nuisance, dive.faults
    fine = np.linspace(0, 1, 257)
    rush = 1.6 * (faults["rush"] - 0.5)
    cycles = 1.5 + 3.5 * faults["stutter"]
    speed = 1 + rush * (2 * fine - 1) * 1.1
    speed = speed * (1 + n["stutter_depth"] * np.sin(2 * math.pi * cycles * fine + n["stutter_phase"]))
    start, length = n["hesitation_at"], 0.3 * faults["hesitation"]
    speed = np.where((fine >= start) & (fine < start + length), 0.05 * speed, speed)
    turned = np.concatenate([[0], np.cumsum(0.5 * (speed[1:] + speed[:-1]))])
    turned /= turned[-1]

    t = np.arange(num_frames, dtype=np.float64)
    flight = (t - n["takeoff"]) / (n["entry"] - n["takeoff"])
    over = n["entry_sign"] * 0.6 * (faults["entry"] - 0.2)
    angle = n["lean"] + dive.ss_no * math.pi * np.interp(flight, fine, turned)
    angle = angle + over * np.clip(flight, 0, 1) ** 4
    opening = 0.72 + 0.18 * faults["opening"]
    fold = np.clip(flight / 0.12, 0, 1) * np.clip((opening + 0.1 - flight) / 0.1, 0, 1)
    swings = 0.75 + 3.75 * faults["sway"]
    # Faster swings are smaller, or the amount of motion would tell.
    sway = n["sway_size"] * swings**-0.6 * np.sin(2 * math.pi * swings * flight + n["sway_phase"])
    shaken = dive.planted.shake(t) if dive.planted else (0.0, 0.0)
    return Pose(
        angle=n["direction"] * angle,
        fold=fold,
        x=0.5 + n["offset_x"] + sway * math.cos(n["sway_angle"]) + shaken[0],
        y=0.5 + n["offset_y"] + sway * math.sin(n["sway_angle"]) + shaken[1],
        flight=flight,
        twist=math.pi * dive.tw_no * np.clip((flight - 0.3) / 0.6, 0, 1),
    )


_SHIFT = 4  # fractional bits of the coordinates that OpenCV takes


def _capsule(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, width: float, colour: np.ndarray) -> None:
    p, q = (tuple(round(v * 2**_SHIFT) for v in point) for point in (a, b))
    cv2.line(canvas, p, q, tuple(float(c) for c in colour), max(1, round(width)), cv2.LINE_8, _SHIFT)


def _disc(canvas: np.ndarray, centre: np.ndarray, radius: float, colour: np.ndarray) -> None:
    at = tuple(round(v * 2**_SHIFT) for v in centre)
    cv2.circle(canvas, at, round(radius * 2**_SHIFT), tuple(float(c) for c in colour), -1, cv2.LINE_8, _SHIFT)


_FOLD_ANGLE = (2.1, 1.7, 0.45)  # how far the legs come up, by position
_KNEE_ANGLE = (1.9, 0.0, 0.0)


def _draw_diver(canvas: np.ndarray, dive: Dive, pose: Pose, i: int, palette: dict[str, np.ndarray]) -> None:
    side = canvas.shape[0]
    a = dive.athlete
    theta, fold = pose.angle[i], pose.fold[i]
    hip_bend = _FOLD_ANGLE[dive.position] * fold * dive.nuisance["direction"]
    knee_bend = -_KNEE_ANGLE[dive.position] * fold * dive.nuisance["direction"]
    part = 0.5 * a.length * side

    def heading(angle: float) -> np.ndarray:
        return np.array([math.sin(angle), -math.cos(angle)])

    up = heading(theta)
    hip = np.zeros(2)
    chest = hip + up * part * 0.62
    head = hip + up * part * 0.92

    def leg(spread: float) -> tuple[np.ndarray, np.ndarray]:
        thigh, shin = -heading(theta - hip_bend + spread), -heading(theta - hip_bend - knee_bend + spread)
        knee = hip + thigh * part * 0.5
        return knee, knee + shin * part * 0.5

    knee, foot = leg(0.0)
    centre = np.array([pose.x[i], pose.y[i]]) * side
    shift = centre - (chest + hip + knee + foot) / 4  # the body turns about its centre of mass
    girth = a.girth * side * (0.8 + 0.2 * abs(math.cos(pose.twist[i])))
    apart, out = (dive.planted.spread(i, kind) if dive.planted else 0.0 for kind in ("legs_apart", "arms_out"))
    legs = [leg(apart), leg(-apart)] if apart else [(knee, foot)]
    chest, head, hip = (p + shift for p in (chest, head, hip))
    for knee, foot in legs:
        _capsule(canvas, knee + shift, foot + shift, 0.8 * girth, palette["skin"])
        _capsule(canvas, hip, knee + shift, 0.95 * girth, palette["skin"])
    for angle in (out, -out) if out else ():
        _capsule(canvas, chest, chest - heading(theta + angle) * part * 0.9, 0.6 * girth, palette["skin"])
    _capsule(canvas, hip, chest, 1.1 * girth, palette["suit"])
    _disc(canvas, head, 0.58 * girth, palette["hair"])


def render(dive: Dive, *, size: int = SIZE, num_frames: int = FRAMES) -> Iterator[np.ndarray]:
    """Yield the frames of a dive: uint8 [size, size, 3], RGB; at any size the same motion."""
    rng = np.random.default_rng([dive.seed, _PIXEL_STREAM, dive.index])
    pose, n = motion(dive, num_frames), dive.nuisance
    side = size * SUPERSAMPLE
    haze = np.array([235.0, 238.0, 240.0])
    tint = rng.uniform([95, 125, 145], [110, 140, 165])
    background = n["light"] * tint + 0.3 * n["mist"] * (haze - n["light"] * tint)
    floor = background * rng.uniform(0.92, 1.0)
    ramp = np.linspace(0, 1, side)[:, None, None]
    plate = ((1 - ramp) * background + ramp * floor) * np.ones((1, side, 1))
    plate = np.clip(plate, 0, 255).astype(np.uint8)
    palette = {
        name: np.clip(n["light"] * np.array(getattr(dive.athlete, name)), 0, 255) for name in ("skin", "suit", "hair")
    }
    decoy_at, decoy_x = rng.uniform(2, num_frames - 6), rng.uniform(0.1, 0.9)
    decoy_size = rng.uniform(0.2, 1.0)
    splash = 0.8 * n["splash"] + 0.2 * dive.faults["entry"]
    spray = rng.uniform(-1, 1, (6, 2))
    for i in range(num_frames):
        canvas = plate.copy()
        _draw_diver(canvas, dive, pose, i, palette)
        for at, x, strength in ((n["entry"], pose.x[i], splash), (decoy_at, decoy_x, decoy_size)):
            age = (i - at) / 3.0
            if 0 <= age < 1:
                for dx, dy in spray:
                    rise = (0.2 + 0.1 * dy) * strength * age
                    where = np.array([x + 0.22 * dx * strength * age, 1.0 - rise])
                    _disc(canvas, where * side, 0.05 * side * strength, haze)
        frame = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
        grain: np.ndarray = rng.normal(0, 3.0, (SIZE, SIZE, 1))
        if size != SIZE:
            grain = cv2.resize(grain, (size, size), interpolation=cv2.INTER_NEAREST)[:, :, None]
        yield np.clip(frame + grain, 0, 255).astype(np.uint8)
