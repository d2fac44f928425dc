"""Which strange videos does a run flag, and which layers does that take? Prints a table, and saves unfamiliar.json.

    python scripts/unfamiliar.py --workdir RUN [--videos FOLDER]

Test videos made strange (noise, upside down, ...), and rendered finger taps or the files of FOLDER, against the run's
threshold: described by the first and the last Inception module as in docs/evaluation.md, by the last alone, and by the
last alone with features of length 1 (Sun et al. 2022).
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import jax
import numpy as np
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aqa_jax import config as configuration
from aqa_jax.data import build
from aqa_jax.data.sampling import clip_window
from aqa_jax.errors import AqaError, ConfigError
from aqa_jax.evaluate import familiarity
from aqa_jax.evaluate.familiarity import Parts
from aqa_jax.files import write_json
from aqa_jax.models.score_model import ClipModel
from aqa_jax.predict.inputs import find_videos
from aqa_jax.predict.video_clips import read_clips
from aqa_jax.train.chosen import restore_chosen
from aqa_jax.train.run import Run

BATCH = 32
MAX_STRANGE = 32  # test videos that are made strange


def clips_of(run: Run, split: str, limit: int) -> np.ndarray:
    """Up to so many videos of a split, evenly spread over it: uint8 [N, S, T, H, W, 3]."""
    rows = run.rows[split]
    batches = run.batches_of(split, rows[np.unique(np.linspace(0, len(rows) - 1, limit).astype(int))])
    return np.concatenate([batch["video"][batch["mask"] > 0] for batch in batches])


def strange(clips: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Videos that are no test videos, each of the same shape [N, S, T, H, W, 3], by name."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, clips.shape, np.uint8)
    order = rng.permutation(clips.shape[2])
    return {
        "white noise": noise,
        "one frame of noise": np.broadcast_to(noise[:, :1, :1], clips.shape),
        "black": np.zeros_like(clips[:1]),
        "white": np.full_like(clips[:1], 255),
        "upside down": clips[:, :, :, ::-1],
        "negative": 255 - clips,
        "a quarter as bright": clips // 4,
        "every clip its first frame": np.broadcast_to(clips[:, :, :1], clips.shape),
        "frames of a clip mixed": clips[:, :, order],
    }


def describer(run: Run, state: dict) -> Callable[[np.ndarray], Parts]:
    """From clips to what describes them."""
    compiled = jax.jit(lambda state, video: cast(ClipModel, run.assembler.merge(state)).described(video))

    def describe(clips: np.ndarray) -> Parts:
        found = []
        for start in range(0, len(clips), BATCH):
            part = clips[start : start + BATCH]
            padded = np.concatenate([part, np.repeat(part[-1:], BATCH - len(part), 0)])
            features, early = compiled(state, padded)
            found.append((np.asarray(early)[: len(part)], np.asarray(features)[: len(part)]))
        return [np.concatenate(layer) for layer in zip(*found, strict=True)]

    return describe


def flagged(described: dict[str, Parts], k: int, level: float) -> dict[str, dict[str, float]]:
    """Share of each group's videos above the threshold, by form of description."""
    groups = [name for name in described if name not in ("train", "validation")]

    def by(choose: Callable[[Parts], Parts]) -> dict[str, float]:
        parts = {name: choose(found) for name, found in described.items()}
        near = familiarity.learn(parts["train"], parts["validation"], neighbours=k, level=level)
        return {name: float(near.unfamiliar(near.distance(parts[name])).mean()) for name in groups}

    lengths = {name: np.linalg.norm(found[1], axis=1, keepdims=True) for name, found in described.items()}
    unit = {name: found[1] / np.maximum(lengths[name], 1e-12) for name, found in described.items()}
    tree = cKDTree(unit["train"])
    distance = {name: tree.query(found, range(1, k + 1))[0].mean(1) for name, found in unit.items()}
    threshold = np.quantile(distance["validation"], level, method="higher")
    return {
        "first and last (as built)": by(lambda parts: parts),
        "last alone": by(lambda parts: parts[1:]),
        "last alone, of length 1": {name: float((distance[name] > threshold).mean()) for name in groups},
    }


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="of a trained run that scores")
    parser.add_argument("--videos", default="", help="files of another world; without, finger taps are rendered")
    parser.add_argument("--limit", type=int, default=500, help="training videos at most, and others")
    parser.add_argument("--data_dir", default="", help="where the dataset lies, if not where the run's config says")
    given = parser.parse_args(arguments)
    values = configuration.read_json(given.workdir / "config.json")
    values.data.data_dir = given.data_dir or values.data.data_dir
    config = configuration.resolve(values)
    if config.task != "score":
        raise ConfigError(f"{given.workdir} was trained with config.task={config.task}: it does not score videos.")
    run = Run(config)
    if not len(run.rows["validation"]):
        raise ConfigError(f"{given.workdir} has no validation split to learn the threshold on.")
    selection, state = restore_chosen(run, given.workdir)
    clips = {split: clips_of(run, split, given.limit) for split in ("train", "validation", "test")}
    clips |= strange(clips["test"][:MAX_STRANGE], config.seed)
    with tempfile.TemporaryDirectory() as folder:
        if not given.videos:
            build.builder_class("synthetic_taps").write_samples(folder, 12)
        files = find_videos(given.videos or folder).videos
        size, crop = run.store.frame_size, config.data.crop
        others = [read_clips(file, clip_window(config.data), size, (crop, crop)).video for file in files]
    clips[given.videos or "finger taps"] = np.stack(others)
    describe = describer(run, state)
    described = {name: describe(some) for name, some in clips.items()}
    shares = flagged(described, config.evaluate.familiarity_neighbours or 5, config.evaluate.familiarity_level)
    counts = {name: len(some) for name, some in clips.items()}
    content = {"step": selection.step, "videos": counts, "flagged": shares}
    write_json(given.workdir / "evaluation" / "unfamiliar.json", {"schema": "aqa_jax.unfamiliar/1", **content})
    print("| share flagged | videos | " + " | ".join(shares) + " |")
    print("|---" * (len(shares) + 2) + "|")
    for name in next(iter(shares.values())):
        print(f"| {name} | {counts[name]} | " + " | ".join(f"{share[name]:.2f}" for share in shares.values()) + " |")


if __name__ == "__main__":
    try:
        main()
    except AqaError as error:
        sys.exit(f"error: {error}")
