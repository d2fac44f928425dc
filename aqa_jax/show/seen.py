"""Clips exactly as a model gets them, out of the very input pipeline, as pictures again."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aqa_jax.data.pace import PaceWindow
from aqa_jax.models.jitter import colour_jitter
from aqa_jax.models.score_model import NORMALISATIONS, normalise
from aqa_jax.tasks.base import compute_dtype
from aqa_jax.train.run import Run


@dataclass(frozen=True)
class Seen:
    """One example.

    Attributes:
      id: of the video.
      facts: what to say of it, in words: score, difficulty, or the classes of the pretext task.
      clips: uint8 RGB [S, T, H, W, 3].
      marked: bool [T], frames of a segment that is played at another pace; all False elsewhere.
    """

    id: str
    facts: str
    clips: np.ndarray
    marked: np.ndarray = field(repr=False)


def seen_in_training(run: Run, count: int) -> list[Seen]:
    """The first `count` examples of the training: cropped, mirrored and jittered as drawn."""
    return _take(run, run.batches_for_training(), count, training=True)


def seen_in_evaluation(run: Run, split: str, count: int) -> list[Seen]:
    """`count` examples of a split as evaluations see them, spread over its rows."""
    rows = run.rows[split]
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]
    return _take(run, iter(run.batches_of(split, chosen)), count, training=False)


def back_to_pictures(video: np.ndarray, normalisation: str, dtype: jnp.dtype) -> np.ndarray:
    """uint8 RGB [..., 3] through the model's normalisation in `dtype`, and back: what rounding loses is lost."""
    mean, std = (np.array(values, np.float32) for values in NORMALISATIONS[normalisation])
    values = np.asarray(normalise(jnp.asarray(video), normalisation, dtype), np.float32)
    return np.clip(np.rint((values * std + mean) * 255), 0, 255).astype(np.uint8)


def _take(run: Run, batches: Iterable[dict[str, np.ndarray]], count: int, *, training: bool) -> list[Seen]:
    config = run.config
    found: list[Seen] = []
    jitter = config.vspp.colour_jitter if training and config.task == "vspp" else 0.0
    key = jax.random.key(config.seed)
    for batch in batches:
        real = np.flatnonzero(batch["row"] >= 0)[: count - len(found)]
        video = batch["video"][real]
        if jitter:
            key, drawn = jax.random.split(key)
            video = np.asarray(colour_jitter(jnp.asarray(video), jitter, drawn))
        pictures = back_to_pictures(video, config.data.normalisation, compute_dtype(config))
        found += [_example(run, batch, int(at), clips) for at, clips in zip(real, pictures, strict=True)]
        if len(found) >= count:
            break
    return found


def _example(run: Run, batch: dict[str, np.ndarray], at: int, clips: np.ndarray) -> Seen:
    table, row = run.store.table, int(batch["row"][at])
    marked = np.zeros(clips.shape[1], bool)
    window = run.window
    if isinstance(window, PaceWindow):
        segment, pace = int(batch["segment"][at]), window.pace_classes[int(batch["pace"][at])]
        length = window.clip_length // window.segments
        marked[segment * length : (segment + 1) * length] = True
        facts = f"segment {segment + 1} of {window.segments} at pace {pace}, the others at {window.base_step}"
    else:
        facts = ", ".join(_facts(table, row))
    return Seen(str(table.column("id")[row]), facts, clips, marked)


def _facts(table: Any, row: int) -> list[str]:
    values = {name: float(table.column(name)[row]) for name in ("score", "difficulty") if name in table.names}
    return [f"{name} {value:g}" for name, value in values.items() if np.isfinite(value)]
