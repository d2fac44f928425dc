"""Under which protocol a figure was made: in words for people, and as a fingerprint for machines.

Two figures may stand side by side where their fingerprints are equal: the same videos were tested, the same could be
trained on, they were seen in the same way, and the step was chosen by the same rule.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from aqa_jax.config import Config, excluded_ids
from aqa_jax.data.video_store import VideoStore

_SHOWN = 10  # ids in the words; all are in the fingerprint's parts
POINTS = {"mean": "the mean", "mode": "the mode", "sample": "one sample"}


class SetUp(Protocol):
    """What a protocol is read from: a run before its first step."""

    @property
    def config(self) -> Config: ...  # noqa: D102

    @property
    def store(self) -> VideoStore: ...  # noqa: D102

    @property
    def rows(self) -> Mapping[str, np.ndarray]: ...  # noqa: D102


def protocol(run: SetUp) -> str:
    """In words: data, splits, what predicts."""
    data, evaluate = run.config.data, run.config.evaluate
    validation = "none"
    if data.validation_fraction:
        held = "groups" if data.validation_by == "group" else "videos"
        validation = f"{data.validation_fraction:.0%} of the training split by {held}, seed {run.config.seed}"
    own = run.store.metadata.get("test_split", "published test split")
    parts = [
        f"{data.builder}: " + (f"test on {data.test_where}" if data.test_where else own),
        f"validation: {validation}",
        f"{evaluate.views} view(s) a video",
    ]
    if run.config.task == "score":
        parts.append(f"score: {POINTS[evaluate.point]}")
        learnt = "recalibrated on validation" if _recalibrated(run) else "raw"
        parts.append(f"sigma and intervals: {learnt}")
    if data.training_split != "train":
        parts.append(f"trained on the splits {data.training_split}")
    if excluded := excluded_ids(data):
        parts.append(f"{len(excluded)} video(s) EXCLUDED: {_shown(excluded)}")
    if data.allow_pretraining_overlap:
        parts.append("groups or videos of the test split MAY HAVE BEEN SEEN in pretraining")
    if data.shuffle_time:
        parts.append("frames of every window SHUFFLED (control)")
    if data.still:
        parts.append("every frame of a clip is its FIRST (control)")
    return "; ".join(parts)


def without_ids(words: str, config: Config) -> str:
    """What :func:`protocol` said, without the ids of excluded videos; how many they are stays."""
    if excluded := excluded_ids(config.data):
        # An id may hold what separates the parts.
        words = words.replace(f"EXCLUDED: {_shown(excluded)}", "EXCLUDED")
    return re.sub(r"(video\(s\) EXCLUDED): [^;]*", r"\1", words)


def _shown(excluded: Sequence[str]) -> str:
    return ", ".join(excluded[:_SHOWN]) + (", ..." if len(excluded) > _SHOWN else "")


def fingerprint(run: SetUp) -> dict[str, Any]:
    """What must be equal for two figures to be compared.

    The method (head, backbone, weights, optimizer, augmentation) has no part in it, nor has the seed: seeds of one
    experiment share it, though each draws its own validation videos.

    Returns:
      ``id``, 12 hexadecimal digits, and ``parts``, the readable facts that it is the hash of.
    """
    data, evaluate = run.config.data, run.config.evaluate
    ids = run.store.table.column("id")
    preprocessing: dict[str, Any] = {
        "window": data.window,
        "window_mode": data.window_mode,
        "clip_length": data.clip_length,
        "clip_starts": list(data.clip_starts),
        "clip_stride": data.clip_stride,
        "frame_size": list(run.store.frame_size),
        "crop": data.crop,
        "normalisation": data.normalisation,
        "views": evaluate.views,
        # Several views are shifts of the window; one view is not shifted.
        "max_shift": data.max_shift if evaluate.views > 1 else 0,
        "shuffle_time": data.shuffle_time,
        "still": data.still,
    }
    parts = {
        "data": {"builder": data.builder, "fingerprint": run.store.metadata["fingerprint"][:12]},
        "test": _videos(ids[run.rows["test"]]),
        "training": _videos(ids[np.concatenate([run.rows["train"], run.rows["validation"]])]),
        # All the ids, for metrics.json has no other place for them.
        **({"excluded": list(excluded)} if (excluded := excluded_ids(data)) else {}),
        "validation": {"fraction": data.validation_fraction, "by": data.validation_by}
        if data.validation_fraction
        else {"fraction": 0.0},
        "pretraining_overlap": "allowed" if data.allow_pretraining_overlap else "refused",
        "preprocessing": preprocessing,
        "selection": evaluate.selection,
        "point": evaluate.point,
        "sigma": "recalibrated on validation" if _recalibrated(run) else "raw",
    }
    return {"id": digest(parts), "parts": parts}


def _recalibrated(run: SetUp) -> bool:
    return run.config.evaluate.recalibration == "validation" and run.config.data.validation_fraction > 0


def digest(content: Any) -> str:
    """Twelve hexadecimal digits of plain JSON content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def differing_parts(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The parts of two fingerprints that differ, as ``preprocessing.crop: 224 -> 112``."""
    first, second = a["parts"], b["parts"]
    found = []
    for name in [*first, *(name for name in second if name not in first)]:
        if name not in first or name not in second:
            there = [
                "given" if isinstance(parts.get(name), Mapping) else parts.get(name, "none")
                for parts in (first, second)
            ]
            found.append(f"{name}: {there[0]} -> {there[1]}")
            continue
        one, other = dict(_leaves({name: first[name]})), dict(_leaves({name: second[name]}))
        for leaf in [*one, *(leaf for leaf in other if leaf not in one)]:
            if one.get(leaf) != other.get(leaf):
                found.append(f"{leaf}: {one.get(leaf, 'none')} -> {other.get(leaf, 'none')}")
    return found


def _videos(ids: Iterable[str]) -> dict[str, Any]:
    names = sorted(map(str, ids))
    return {"videos": len(names), "ids": digest(names)}


def _leaves(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in content.items():
        found += _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return found
