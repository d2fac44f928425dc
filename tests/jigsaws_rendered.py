"""MUSDL's preparation of JIGSAWS with its real labels and folds, and rendered frames that show the six items."""

import pickle
from pathlib import Path

import cv2
import numpy as np

from aqa_jax import safe_pickle

REAL = Path(__file__).parent / "data" / "annotations" / "jigsaws"
LABELS = safe_pickle.load(REAL / "label.pkl")
FOLDS = safe_pickle.load(REAL / "splits.pkl")
FRAMES, SIDE = 32, 36


def ids_of(task: str) -> list[str]:
    """The trials of one task."""
    return sorted(id_ for id_ in LABELS if id_.startswith(task))


def write(raw: Path, trials, labels=None) -> Path:
    """Labels, folds and frames of ``trials``; an item is the height of one of six bars, which flickers."""
    labels = LABELS | (labels or {})
    (raw / "info").mkdir(parents=True)
    (raw / "info" / "label.pkl").write_bytes(pickle.dumps({id_: labels[id_] for id_ in trials}, 2))
    lists = {task: [[i for i in fold if i in trials] for fold in folds] for task, folds in FOLDS.items()}
    (raw / "info" / "splits.pkl").write_bytes(pickle.dumps(lists, 2))
    rng = np.random.default_rng(0)
    for id_ in trials:
        folder = raw / "frames" / f"{id_}_capture1"
        folder.mkdir(parents=True)
        for number in range(FRAMES):
            image = rng.integers(0, 40, (SIDE, SIDE, 3), np.uint8)
            for place, item in enumerate(labels[id_]):
                image[SIDE - SIDE * item // 6 :, 6 * place : 6 * place + 4] += np.uint8(rng.integers(120, 200))
            cv2.imwrite(str(folder / f"{number:05d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return raw


def settings(raw: Path, data_dir: Path, **changes) -> dict:
    """Changes by dotted key that make one of configs/jigsaws_*.py tiny: a few steps of the head alone."""
    return {
        "data.raw_dir": str(raw),
        "data.data_dir": str(data_dir),
        "data.options": f"task=Needle_Passing,height={SIDE},width={SIDE}",
        "data.window": FRAMES,
        "data.clip_starts": (0, 16),
        "data.crop": 32,
        "model.dialect": "hassony2",
        "model.width": 0.05,
        "model.final_endpoint": "Mixed_3c",
        "train.batch_size": 4,
        "train.trainable": "head",
        "train.steps": 40,
        "train.evaluate_every": 40,
        "optimizer.learning_rate": 1e-2,
        "train.log_every": 10,
        "evaluate.track_test": True,
        "evaluate.bootstrap": 50,
        "evaluate.familiarity_neighbours": 0,
    } | changes
