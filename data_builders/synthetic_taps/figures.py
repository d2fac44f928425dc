"""Prints what single quantities and cheap statistics reach on the built taps: the table of the README.

python data_builders/synthetic_taps/figures.py DIRECTORY_OF_THE_DATASET
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from scipy.stats import spearmanr

from aqa_jax.data.video_store import VideoStore
from aqa_jax.evaluate import controls

TRUTH = ("factor_slowing", "factor_decrement", "factor_hesitation", "factor_irregularity", "rate", "opening")
MEASURABLE = ("rate", "opening", "decrement", "halted_frames", "jitter")
CLIP, SEGMENT, PACES = 32, 8, (2, 3, 4, 5)
FLOOR = 10.0  # grey levels that the pixel noise does not reach


def motion_energy(frames: np.ndarray) -> np.ndarray:
    """How much changes from frame to frame, but for the noise: uint8 [T, H, W, 3] -> float [T - 1]."""
    grey = frames.mean(-1, dtype=np.float32)
    return np.maximum(np.abs(np.diff(grey, axis=0)) - FLOOR, 0).mean((1, 2))


def guess_pace(energy: np.ndarray) -> tuple[int, float]:
    """The segment with the most change, and the ratio of its largest change to the usual ones elsewhere."""
    starts = range(0, CLIP, SEGMENT)
    segment = int(np.argmax([energy[s : s + SEGMENT - 1].mean() for s in starts]))
    inside = np.zeros(len(energy), bool)
    inside[SEGMENT * segment : SEGMENT * (segment + 1)] = True
    rest = energy[~inside]
    moving = rest[rest > 0.02]
    usual = np.quantile(moving, 0.8) if moving.size else 0.02
    return segment, float(np.log(max(energy[inside].max(), 0.02) / usual))


def pace_trials(videos: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """(segment, pace, guessed segment, log ratio) of random clips of one fast segment: [count, 4]."""
    trials = []
    for _ in range(count):
        segment, pace = int(rng.integers(CLIP // SEGMENT)), int(rng.choice(PACES))
        steps = np.where(np.arange(CLIP) // SEGMENT == segment, pace, 1)[:-1]
        frames = videos[rng.integers(len(videos))]
        start = rng.integers(len(frames) - steps.sum())
        clip = frames[start + np.concatenate([[0], np.cumsum(steps)])]
        trials.append((segment, pace, *guess_pace(motion_energy(clip))))
    return np.array(trials)


def pace_accuracy(trials: np.ndarray) -> tuple[float, float]:
    """Accuracies of segment and pace; the pace by the nearest median ratio of the first half, on the second."""
    half = len(trials) // 2
    fit, test = trials[:half], trials[half:]
    medians = np.array([np.median(fit[fit[:, 1] == pace, 3]) for pace in PACES])
    guessed = np.array(PACES)[np.abs(test[:, 3, None] - medians).argmin(1)]
    return float((trials[:, 0] == trials[:, 2]).mean()), float((guessed == test[:, 1]).mean())


def main(directory: str) -> None:
    """Print every figure."""
    store = VideoStore.open(directory)
    table = store.table
    test = table.rows("test")
    length = int(table.column("num_frames").min())
    score = table.column("score")[test]
    for split in ("train", "test"):
        counts = np.bincount(table.column("score")[table.rows(split)].astype(int), minlength=5)
        print(f"videos of score 0..4 in {split}: {' '.join(map(str, counts))}")

    def show(name: str, rho: float) -> None:
        print(f"{name:45} {rho:6.3f}")

    print("\nSpearman with the score, test")
    for name in TRUTH:
        show(name, spearmanr(table.column(name)[test], score)[0])
    design = np.stack([np.ones(len(test)), *(table.column(name)[test] for name in MEASURABLE)], 1)
    show(f"linear in {', '.join(MEASURABLE)}", spearmanr(design @ np.linalg.lstsq(design, score)[0], score)[0])
    videos = [store.read(int(row), np.arange(length)) for row in test]
    amount = [controls.mean_abs_difference(frames).mean() for frames in videos]
    show("mean absolute difference, one number", spearmanr(amount, score)[0])
    for name, metrics in controls.compare(store, length, bootstrap=0).items():
        show(name, metrics["rho"])
    segment, pace = pace_accuracy(pace_trials(videos, 4000, np.random.default_rng(0)))
    print(f"\nhand-made decoder of the pace: segment {segment:.3f}, pace {pace:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
