"""The fingerprint changes with the protocol, and with nothing else."""

import dataclasses
import types

import numpy as np
import pytest

from aqa_jax.config import Config
from aqa_jax.evaluate.protocol import differing_parts, fingerprint, protocol


def run(seed=0, rows=None, store="ab12", size=(32, 32), **changes):
    """A run as far as the protocol knows it; ``changes`` by key with __ for the dot."""
    config = dataclasses.replace(Config(), seed=seed)
    for key, value in changes.items():
        block, name = key.split("__")
        config = dataclasses.replace(config, **{block: dataclasses.replace(getattr(config, block), **{name: value})})
    rows = rows or {"train": [0, 1, 2], "validation": [3], "test": [4, 5]}
    table = types.SimpleNamespace(column=lambda name: np.array([f"video{n}" for n in range(8)], object))
    dataset = types.SimpleNamespace(table=table, metadata={"fingerprint": store}, frame_size=size)
    return types.SimpleNamespace(config=config, store=dataset, rows={k: np.array(v, int) for k, v in rows.items()})


def test_seeds_and_methods_share_it():
    reference = fingerprint(run())
    assert len(reference["id"]) == 12
    # Another seed carves other validation videos out of the same pool.
    other_draw = {"train": [3, 1, 0], "validation": [2], "test": [5, 4]}
    assert fingerprint(run(seed=7, rows=other_draw)) == reference
    for changes in ({"head__name": "usdl"}, {"model__width": 0.5}, {"data__flip": False}, {"data__max_shift": 0}):
        assert fingerprint(run(**changes)) == reference, changes


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"store": "cd34"}, "data.fingerprint: ab12 -> cd34"),
        ({"data__builder": "mtl_aqa"}, "data.builder"),
        ({"rows": {"train": [0, 1, 2], "validation": [3], "test": [4, 6]}}, "test.ids"),
        ({"rows": {"train": [0, 1], "validation": [3], "test": [4, 5]}}, "training.videos: 4 -> 3"),
        ({"data__validation_fraction": 0.2}, "validation.fraction: 0.1 -> 0.2"),
        ({"data__validation_fraction": 0.0}, "validation.by: group -> none"),
        ({"data__window_mode": "linspace"}, "preprocessing.window_mode: consecutive -> linspace"),
        ({"data__crop": 32}, "preprocessing.crop: 224 -> 32"),
        ({"size": (64, 64)}, "preprocessing.frame_size"),
        ({"data__clip_starts": (0, 16)}, "preprocessing.clip_starts"),
        ({"evaluate__views": 3}, "preprocessing.views: 1 -> 3"),
        ({"data__shuffle_time": True}, "preprocessing.shuffle_time"),
        ({"data__allow_pretraining_overlap": True}, "pretraining_overlap: refused -> allowed"),
        ({"evaluate__selection": "last"}, "selection: best_on_validation -> last"),
        ({"evaluate__point": "mode"}, "point: mean -> mode"),
        ({"evaluate__recalibration": "none"}, "sigma: recalibrated on validation -> raw"),
    ],
)
def test_every_part_counts_and_is_named(changes, named):
    reference, other = fingerprint(run()), fingerprint(run(**changes))
    assert reference["id"] != other["id"]
    assert any(part.startswith(named) for part in differing_parts(reference, other))
    assert differing_parts(reference, reference) == []


def test_words():
    assert protocol(run()) == (
        "synthetic_dives: published test split; validation: 10% of the training split by groups, seed 0; "
        "1 view(s) a video; score: the mean; sigma and intervals: recalibrated on validation"
    )
    for changes in ({"evaluate__recalibration": "none"}, {"data__validation_fraction": 0.0}):
        assert "sigma and intervals: raw" in protocol(run(**changes))
    assert "score: the mode" in protocol(run(evaluate__point="mode"))
    assert "SHUFFLED" in protocol(run(data__shuffle_time=True))


def test_a_part_that_only_one_has_is_named_once():
    one = {"parts": {"test": {"videos": 3, "ids": "ab"}, "point": "mean"}}
    other = {"parts": {"folds": {"0": {"videos": 3}, "1": {"videos": 4}}, "point": "mode"}}
    assert differing_parts(one, other) == ["test: given -> none", "point: mean -> mode", "folds: none -> given"]
