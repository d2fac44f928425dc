"""What cheap statistics reach: the figures that a video model has to beat before its own mean anything."""

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from aqa_jax.data.decode import cv2, resize
from aqa_jax.data.video_store import VideoStore
from aqa_jax.evaluate.metrics import score_metrics

FeatureMaker = Callable[[np.ndarray], np.ndarray]
_STRENGTHS = np.logspace(-6, 4, 41)


def mean_frame(frames: np.ndarray) -> np.ndarray:
    """What it looks like, whatever moves: uint8 [T, H, W, 3] -> float32 [H, W, 3]."""
    return frames.mean(0, dtype=np.float32)


def mean_abs_difference(frames: np.ndarray) -> np.ndarray:
    """How much moves, and where: mean |frame - frame before|, uint8 [T, H, W, 3] -> float32 [H, W, 3]."""
    total = np.zeros(frames.shape[1:], np.float32)
    for before, after in itertools.pairwise(frames):
        total += cv2.absdiff(before, after)
    return total / max(len(frames) - 1, 1)


MAKERS: dict[str, FeatureMaker] = {"mean_frame": mean_frame, "mean_abs_difference": mean_abs_difference}


def video_features(
    store: VideoStore,
    rows: np.ndarray,
    window: int,
    *,
    makers: Mapping[str, FeatureMaker] = MAKERS,
    size: int = 32,
    threads: int = 2,
) -> dict[str, np.ndarray]:
    """Features of the frames that a model is tested on, from one pass over the videos.

    Args:
      store: the dataset.
      rows: int [N], rows of its table.
      window: frames from eval_start on; a shorter video gives what it has.
      makers: features by name, from uint8 [T, H, W, 3] to [H, W, 3].
      size: feature images larger than this are averaged down to size x size pixels.
      threads: videos decoded at a time.

    Returns:
      {name: float32 [N, F]}.
    """
    starts, lengths = store.table.column("eval_start"), store.table.column("num_frames")

    def features(row: int) -> list[np.ndarray]:
        start = int(starts[row])
        frames = store.read(row, np.arange(start, min(start + window, int(lengths[row]))))
        images = (make(frames) for make in makers.values())
        return [_shrunk(image, size).ravel() for image in images]

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(features, rows))
    return {name: np.stack([videos[i] for videos in found]) for i, name in enumerate(makers)}


def ridge(features_train: np.ndarray, y_train: np.ndarray, features_test: np.ndarray) -> tuple[np.ndarray, float]:
    """Ridge regression with an intercept, of the strength with the least generalised cross-validation error.

    Args:
      features_train: float [N, F]; N or F may be the larger.
      y_train: float [N].
      features_test: float [M, F].

    Returns:
      predictions float64 [M], and the strength in units of the mean eigenvalue of the features' Gram matrix.
    """
    centre, offset = features_train.mean(0, dtype=np.float64), float(np.mean(y_train))
    train = (features_train - centre).astype(np.float64)
    test = (features_test - centre).astype(np.float64)
    # In the dual, so that the cost is that of the videos and not of the pixels.
    eigenvalues, vectors = np.linalg.eigh(train @ train.T)
    eigenvalues = np.clip(eigenvalues, 0, None)
    if not eigenvalues.any():
        return np.full(len(test), offset), float("inf")
    rotated = vectors.T @ (y_train - offset)
    strengths = _STRENGTHS * eigenvalues.mean()

    def gcv(strength: float) -> float:
        left = strength / (eigenvalues + strength)
        # The intercept has taken one degree of freedom: its direction has eigenvalue 0 and is fitted exactly.
        freedom = left.sum() - 1
        return float(np.sum((left * rotated) ** 2) / freedom**2) if freedom > 1e-9 else np.inf

    best = int(np.argmin([gcv(strength) for strength in strengths]))
    dual = vectors @ (rotated / (eigenvalues + strengths[best]))
    return offset + test @ (train.T @ dual), float(_STRENGTHS[best])


def straight_line(x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Least squares with one feature: float [N], [N], [M] -> [M]."""
    design = np.stack([np.ones_like(x_train, float), x_train], 1)
    (intercept, slope), *_ = np.linalg.lstsq(design, y_train, rcond=None)
    return intercept + slope * np.asarray(x_test, float)


def compare(store: VideoStore, window: int, *, bootstrap: int = 1000, seed: int = 0) -> dict[str, dict]:
    """Every control, fitted on the whole split "train" and scored on "test": {name: score_metrics of it}.

    With difficulties a ridge comes twice: on the score, and, as DAE-MT has it, on score / difficulty with the
    prediction multiplied by the difficulty. If the table has `true_quality` or `severity`, the scores without the
    judges' noise give the ceiling that no model can exceed.
    """
    table = store.table
    train, test = table.rows("train"), table.rows("test")
    score, difficulty = table.column("score"), table.column("difficulty")
    given = bool(np.isfinite(difficulty[np.concatenate([train, test])]).all())
    factor = difficulty if given else np.ones_like(score)
    predictions = {}
    if given:
        predictions["difficulty alone"] = straight_line(difficulty[train], score[train], difficulty[test])
    test_features = video_features(store, test, window)
    for name, features in video_features(store, train, window).items():
        label = f"ridge on the {name.replace('_', ' ')}"
        predictions[label], _ = ridge(features, score[train], test_features[name])
        if given:
            quality, _ = ridge(features, (score / difficulty)[train], test_features[name])
            predictions[f"{label}, times difficulty"] = quality * difficulty[test]
    if truth := [name for name in ("true_quality", "severity") if name in table.names]:
        true_score = table.column(truth[0]) * factor
        predictions["noise ceiling"] = straight_line(true_score[train], score[train], true_score[test])
    return {
        name: score_metrics(score[test], mean, ids=table.column("id")[test], bootstrap=bootstrap, seed=seed)
        for name, mean in predictions.items()
    }


def _shrunk(image: np.ndarray, size: int) -> np.ndarray:
    if max(image.shape[:2]) <= size:
        return image
    return resize(image, (size, size))
