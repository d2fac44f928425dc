"""Rendered motion with known parameters, to pretrain a small video backbone (numpy and OpenCV only).

One sprite of random shape turns, travels, swings, pulses and bends its joint in front of a plain or mildly
textured background, while decoys drift or flash. The targets are the parameters of the motion: rates, changes
of rate, frequencies, amplitudes, directions, pauses. Everything is a function of (seed, index).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import cv2
import numpy as np

FRAMES = 36
SIZE = 32
SUPERSAMPLE = 3
SPRITES = ("rod", "jointed", "polygon", "ellipse", "pair")

_SAMPLE_STREAM, _PIXEL_STREAM = 11, 12

# Columns and their units. Each is determined by the frames, up to noise; NaN where it does not apply.
TARGETS = {
    "turn_rate": "mean |angular velocity|, radians a frame",
    "turn_change": "relative change of the turning speed from the first to the last frame, -1.2..1.2",
    "turn_wave_rate": "frequency of the turning speed's oscillation, cycles a frame (NaN without turning)",
    "turn_wave_depth": "its amplitude relative to the mean speed",
    "turns": "total rotation, turns",
    "pause_length": "frames in which the turning stands still",
    "pause_time": "centre of that pause, frames (NaN without one)",
    "velocity_x": "mean velocity to the right, pixels a frame",
    "velocity_y": "mean velocity downwards, pixels a frame",
    "acceleration": "change of the travelling speed, pixels a frame over the video",
    "sway_rate": "frequency of the swinging, cycles a frame",
    "sway_size": "its amplitude, pixels",
    "sway_horizontal": "|cos| of its direction",
    "pulse_rate": "frequency of the size's oscillation, cycles a frame (NaN without one)",
    "pulse_size": "its relative amplitude",
    "bend_rate": "frequency of the joint's oscillation, cycles a frame (NaN without a joint)",
    "bend_size": "its amplitude, radians",
    "bend_time": "when a joint folds or opens for good, frames (NaN where it does not)",
    "direction": "sign of the rotation on screen, clockwise positive (NaN without turning)",
    "length": "the sprite's length, pixels",
}


@dataclasses.dataclass(frozen=True)
class Motion:
    """Truth of one video: the targets (NaN where undefined) and everything the renderer needs."""

    index: int
    seed: int
    sprite: str
    targets: dict[str, float]
    angle: np.ndarray  # radians [T]
    x: np.ndarray  # pixels of a 32-pixel frame [T]
    y: np.ndarray
    scale: np.ndarray
    bend: np.ndarray  # radians [T], 0 straight
    length: float
    girth: float


def _wave(rng: np.random.Generator, t: np.ndarray, low: float, high: float) -> tuple[float, np.ndarray]:
    rate = rng.uniform(low, high)
    return rate, np.sin(2 * math.pi * rate * t + rng.uniform(0, 2 * math.pi))


def sample_motion(seed: int, index: int, num_frames: int = FRAMES) -> Motion:
    """Draw the motion of video ``index``; each kind of motion is present or absent independently."""
    rng = np.random.default_rng([seed, _SAMPLE_STREAM, index])
    t = np.arange(num_frames, dtype=np.float64)
    unit = t / (num_frames - 1)
    sprite = str(rng.choice(SPRITES, p=(0.3, 0.5, 0.05, 0.05, 0.1)))
    truth = dict.fromkeys(TARGETS, float("nan"))

    turning = rng.uniform() < 0.95
    speed = np.zeros(num_frames)
    direction = rng.choice([-1.0, 1.0])
    truth |= {"turn_rate": 0.0, "turns": 0.0, "pause_length": 0.0}
    if turning:
        change = rng.uniform(-1.2, 1.2)
        depth = rng.uniform(0.4, 0.9) if rng.uniform() < 0.8 else 0.0
        rate, wave = _wave(rng, t, 0.03, 0.22)
        speed = rng.uniform(0.12, 0.65) * np.clip(1 + change * (unit - 0.5), 0.05, None) * (1 + depth * wave)
        if rng.uniform() < 0.5:
            length, middle = rng.uniform(2, 9), rng.uniform(6, num_frames - 6)
            speed = np.where(np.abs(t - middle) < length / 2, 0.05 * speed, speed)
            truth |= {"pause_length": length, "pause_time": middle}
        truth |= {"turn_change": change, "turn_wave_depth": depth, "direction": direction}
        truth["turn_wave_rate"] = rate if depth else float("nan")
        truth["turn_rate"] = float(np.abs(speed).mean())
        truth["turns"] = float(speed.sum() / (2 * math.pi))
    angle = rng.uniform(0, 2 * math.pi) + direction * np.cumsum(speed)

    travel, heading, accelerate = np.zeros(num_frames), rng.uniform(0, 2 * math.pi), 0.0
    if rng.uniform() < 0.25:
        velocity, accelerate = rng.uniform(0.05, 0.35), rng.uniform(-0.35, 0.35)
        travel = np.cumsum(velocity + accelerate * (unit - 0.5))
        travel -= travel.mean()
    mean_velocity = (travel[-1] - travel[0]) / (num_frames - 1)
    truth["velocity_x"] = mean_velocity * math.cos(heading)
    truth["velocity_y"] = mean_velocity * math.sin(heading)
    truth["acceleration"] = accelerate

    sway, way, size = np.zeros(num_frames), rng.uniform(0, math.pi), 0.0
    if rng.uniform() < 0.7:
        rate, wave = _wave(rng, t, 0.03, 0.2)
        size = rng.uniform(1.0, 3.5)
        sway = size * wave
        truth |= {"sway_rate": rate, "sway_horizontal": abs(math.cos(way))}
    truth["sway_size"] = size

    scale, pulse = np.ones(num_frames), 0.0
    if rng.uniform() < 0.15:
        rate, wave = _wave(rng, t, 0.03, 0.2)
        pulse = rng.uniform(0.08, 0.25)
        scale += pulse * wave
        truth["pulse_rate"] = rate
    truth["pulse_size"] = pulse

    bend = np.zeros(num_frames)
    if sprite == "jointed":
        kind = rng.uniform()
        truth["bend_size"] = 0.0
        if kind < 0.35:
            rate, wave = _wave(rng, t, 0.03, 0.2)
            amplitude = rng.uniform(0.3, 1.0)
            bend = rng.uniform(0, 1.0) + amplitude * wave
            truth |= {"bend_rate": rate, "bend_size": amplitude}
        elif kind < 0.85:
            at = rng.uniform(6, num_frames - 6)
            share = np.clip((t - at) / 3 + 0.5, 0, 1)
            bend = rng.uniform(0.8, 2.2) * (share if rng.uniform() < 0.5 else 1 - share)
            truth["bend_time"] = at
        bend = bend * rng.choice([-1.0, 1.0])
    length = rng.uniform(17, 25)
    truth["length"] = length
    centre = SIZE / 2 + rng.uniform(-2, 2, 2)
    return Motion(
        index=index,
        seed=seed,
        sprite=sprite,
        targets=truth,
        angle=angle,
        x=centre[0] + travel * math.cos(heading) + sway * math.cos(way),
        y=centre[1] + travel * math.sin(heading) + sway * math.sin(way),
        scale=scale,
        bend=bend,
        length=length,
        girth=rng.uniform(3.5, 6.5),
    )


_SHIFT = 4


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(points) * 2**_SHIFT).astype(np.int32)


class _Brush:
    """Draws in units of a 32-pixel frame onto a supersampled canvas."""

    def __init__(self, canvas: np.ndarray):
        self.canvas, self.k = canvas, canvas.shape[0] / SIZE

    def line(self, a, b, width, colour):
        p, q = (tuple(int(v) for v in _fixed(point * self.k)) for point in (a, b))
        cv2.line(self.canvas, p, q, colour, max(1, round(width * self.k)), cv2.LINE_8, _SHIFT)

    def disc(self, at, radius, colour):
        centre = tuple(int(v) for v in _fixed(at * self.k))
        reach = max(1, round(radius * self.k * 2**_SHIFT))
        cv2.circle(self.canvas, centre, reach, colour, -1, cv2.LINE_8, _SHIFT)

    def polygon(self, points, colour):
        cv2.fillPoly(self.canvas, [_fixed(points * self.k)], colour, cv2.LINE_8, _SHIFT)


def _turn(points: np.ndarray, angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def _draw(brush: _Brush, m: Motion, i: int, looks: dict) -> None:
    at = np.array([m.x[i], m.y[i]])
    length, girth, theta = m.length * m.scale[i], m.girth * m.scale[i], m.angle[i]
    axis = _turn(np.array([[1.0, 0.0]]), theta)[0]
    a, b, c = looks["colours"]
    if m.sprite == "jointed":
        arm = _turn(np.array([[1.0, 0.0]]), theta + m.bend[i])[0]
        head, tail = 0.5 * length * axis, -0.5 * length * arm
        middle = at - (head + tail) / 3
        brush.line(middle, middle + tail, 0.85 * girth, b)
        brush.line(middle, middle + 0.8 * head, girth, a)
        brush.disc(middle + head, 0.55 * girth, c)
    elif m.sprite == "rod":
        brush.line(at - 0.5 * length * axis, at, girth, b)
        brush.line(at, at + 0.5 * length * axis, girth, a)
        if looks["headed"]:
            brush.disc(at + 0.5 * length * axis, 0.6 * girth, c)
    elif m.sprite == "pair":
        brush.line(at - 0.4 * length * axis, at + 0.4 * length * axis, 0.4 * girth, b)
        brush.disc(at - 0.4 * length * axis, 0.7 * girth, a)
        brush.disc(at + 0.4 * length * axis, 0.9 * girth, c)
    elif m.sprite == "ellipse":
        circle = np.linspace(0, 2 * math.pi, 24, endpoint=False)
        points = np.stack([0.5 * length * np.cos(circle), 0.8 * girth * np.sin(circle)], 1)
        brush.polygon(at + _turn(points, theta), a)
        brush.disc(at + 0.3 * length * axis, 0.4 * girth, c)
    else:
        brush.polygon(at + _turn(0.5 * length * looks["corners"], theta), a)
        brush.disc(at + _turn(0.35 * length * looks["corners"][:1], theta)[0], 0.4 * girth, c)


def _background(rng: np.random.Generator) -> np.ndarray:
    base, other = 140 + rng.uniform(-20, 20) + rng.uniform(-8, 8, 3), rng.uniform(-10, 10, 3)
    ramp = np.linspace(0, 1, SIZE)[:, None, None]
    plate = base + ramp * other * np.ones((1, SIZE, 1))
    if rng.uniform() < 0.2:
        rough = rng.normal(0, 1, (5, 5, 1)).astype(np.float32)
        plate = plate + 5 * cv2.resize(rough, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)[:, :, None]
    return np.clip(plate, 0, 255)


def render(motion: Motion, *, size: int = SIZE) -> Iterator[np.ndarray]:
    """Yield the frames of a motion: uint8 [size, size, 3], RGB."""
    rng = np.random.default_rng([motion.seed, _PIXEL_STREAM, motion.index])
    plate = _background(rng)
    # The ends differ alike in all videos: with free colours a small network learns no motion for a long time.
    colours = [rng.uniform(0, 70, 3), rng.uniform(200, 255, 3), rng.uniform(0, 40, 3)]
    corners = rng.integers(3, 7)
    spokes = np.sort(rng.uniform(0, 2 * math.pi, corners))
    looks = {
        "colours": [tuple(float(v) for v in colour) for colour in colours],
        "headed": rng.uniform() < 0.7,
        "corners": np.stack([np.cos(spokes), 0.6 * np.sin(spokes)], 1) * rng.uniform(0.6, 1.0, (corners, 1)),
    }
    decoys = []
    for _ in range(rng.integers(0, 2)):
        decoys.append((
            rng.uniform(0, SIZE, 2), rng.uniform(-0.3, 0.3, 2), rng.uniform(0.6, 1.8),
            rng.uniform(-5, 30), rng.uniform(2, 20),
            tuple(float(v) for v in rng.uniform(0, 255, 3)),
        ))  # fmt: skip
    noise = rng.uniform(1, 3)
    large = cv2.resize(plate, (size * SUPERSAMPLE,) * 2, interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    for i in range(len(motion.angle)):
        canvas = large.copy()
        brush = _Brush(canvas)
        _draw(brush, motion, i, looks)
        for at, velocity, radius, start, duration, colour in decoys:
            if start <= i < start + duration:
                brush.disc(at + i * velocity, radius, colour)
        frame = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
        grain: np.ndarray = rng.normal(0, noise, (SIZE, SIZE, 1))
        if size != SIZE:
            grain = cv2.resize(grain, (size, size), interpolation=cv2.INTER_NEAREST)[:, :, None]
        yield np.clip(frame + grain, 0, 255).astype(np.uint8)
