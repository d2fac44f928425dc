"""Heads of exemplars from training to new files: the bank is as new as the weights, and what cannot work says so."""

import csv

import jax
import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax.bundle import open_bundle
from aqa_jax.bundle.writer import export_run
from aqa_jax.data.exemplar_keys import exemplar_keys
from aqa_jax.data.video_store import VideoTable
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.train import imported, loop
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.chosen import restore_chosen
from aqa_jax.train.evaluation import predict_rows
from aqa_jax.train.exemplars import known_difficulties, refreshed
from aqa_jax.train.final import evaluate_run
from aqa_jax.train.run import Run, restored_like
from tests.tiny import STEPS, tiny_config
from tests.weights import fakes
from tests.weights.torch_writer import tensors, write_zip

HEAD = {
    "head.name": "core", "head.exemplars_by": "random", "head.pool": 6, "head.exemplars": 5, "head.hidden": (16, 8),
    "head.depth": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def configured(data_dir, **changes):
    return config_lib.resolve(tiny_config(data_dir, **(HEAD | changes)))


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    config = configured(data_dir)
    run = loop.train(config, workdir)
    evaluate_run(run, workdir, workdir / "evaluation")
    return run, workdir


def state_of(run, workdir, step):
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = checkpoints.restore_state(step, restored_like(run))
    checkpoints.close()
    return state


def bank_of(state):
    return {name: np.asarray(values) for name, values in state["constants"]["head"]["exemplars"].items()}


def test_a_checkpoint_holds_its_own_weights_features_of_training_videos(trained):
    run, workdir = trained
    bank = bank_of(state_of(run, workdir, STEPS))
    rows = bank["row"][bank["row"] >= 0]
    assert len(rows) == 5 and set(rows) <= set(run.rows["train"])
    table = run.store.table
    np.testing.assert_allclose(bank["score"][:5], (table.column("score") / table.column("difficulty"))[rows], rtol=1e-6)
    outputs = predict_rows(run.output_step, state_of(run, workdir, STEPS), run.batches_of("train"), quiet=True)
    of_row = dict(zip(outputs["row"], outputs["features"], strict=True))
    np.testing.assert_allclose(bank["features"][:5], [of_row[row] for row in rows], rtol=1e-4, atol=1e-6)
    assert not bank["features"][5:].any() and np.ptp(bank["features"][:5], axis=0).max() > 0
    # Refreshing what is fresh changes nothing.
    state = state_of(run, workdir, STEPS)
    np.testing.assert_allclose(bank_of(refreshed(run, state))["features"], bank["features"], rtol=1e-4, atol=1e-6)


def test_resumed_equals_uninterrupted(trained, data_dir, tmp_path, monkeypatch):
    """From a checkpoint without an evaluation too, whose exemplars are those of an evaluation before."""
    run, whole = trained
    config = configured(data_dir, **{"train.checkpoint_every": 5})
    assert config_lib.differences(config, run.config) == ["config.train.checkpoint_every: 5 -> 0"]

    def cut_off(run, log, watch, step, figures, rows, _read=loop._read):
        if step == 7:
            raise KeyboardInterrupt
        _read(run, log, watch, step, figures, rows)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_read", cut_off)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, tmp_path / "resumed")
    loop.train(config, tmp_path / "resumed")
    ours, theirs = (state_of(run, workdir, STEPS) for workdir in (tmp_path / "resumed", whole))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_files_are_scored_without_the_dataset(trained, tmp_path, monkeypatch):
    run, workdir = trained
    monkeypatch.setattr(Run, "store", property(lambda self: pytest.fail("the dataset was opened")))
    scorer = RunScorer(run.config, workdir)
    monkeypatch.undo()
    with (workdir / "evaluation" / "predictions.csv").open() as file:
        wanted = {row["id"]: float(row["mean"]) for row in csv.DictReader(file)}
    assert scorer.known_difficulties is None
    batch = next(iter(run.batches_of("test")))
    scored = scorer.score(batch["video"], batch["difficulty"])
    names = run.store.table.column("id")[batch["row"]]
    np.testing.assert_allclose(scored.mean, [wanted[name] for name in names], rtol=1e-4)
    # The exemplars go along in a bundle.
    export_run(run.config, workdir, tmp_path / "core.aqa")
    shared = open_bundle(tmp_path / "core.aqa").score(batch["video"], batch["difficulty"])
    np.testing.assert_array_equal(shared.mean, scored.mean)
    np.testing.assert_array_equal(shared.distance, scored.distance)
    with pytest.raises(ConfigError, match="give it, one for each video"):
        scorer.score(batch["video"])


def test_a_new_file_must_have_a_known_difficulty(trained):
    run, workdir = trained
    settings = run.config.head
    by_difficulty = config_lib.resolve(tiny_config(".", **(HEAD | {"head.exemplars_by": "difficulty"}))).head
    state = state_of(run, workdir, STEPS)
    assert known_difficulties(state, settings) is None
    bank = state["constants"]["head"]["exemplars"]
    keys = np.array([3.2, 1.6, 3.2, 2.0, 1.6, 9.9], np.float32)
    state["constants"]["head"]["exemplars"] = bank | {"key": keys, "row": np.array([5, 4, 3, 2, 1, -1])}
    assert known_difficulties(state, by_difficulty) == (1.6, 2.0, 3.2)


def test_files_have_no_dive_number(data_dir, tmp_path):
    config = configured(data_dir, **{"head.exemplars_by": "dive_number"})
    with pytest.raises(ConfigError, match=r"config\.head\.exemplars_by=difficulty or random to score files"):
        RunScorer(config, tmp_path)


def test_pairs_need_an_even_batch(data_dir, tmp_path):
    with pytest.raises(ConfigError, match="cannot hold pairs of videos on 1 device"):
        loop.train(configured(data_dir, **{"train.batch_size": 7}), tmp_path)


def test_an_epoch_has_every_video_as_the_first_of_a_pair(data_dir):
    config = configured(data_dir, **{"train.steps": 0, "train.epochs": 3.0})
    run = Run(config)
    assert loop.lengths(run)[0] == int(np.ceil(3 * len(run.rows["train"]) / 4))


def test_a_difficulty_without_training_videos_stops_the_training(trained, tmp_path):
    run, _ = trained
    config = configured(run.config.data.data_dir, **{"head.exemplars_by": "difficulty", "head.pool": 200})
    # Of 40 tiny dives no training one has the difficulty of one of the test's.
    with pytest.raises(DataError, match=r"No training video has the difficulty .* test split: dive_\d+ \(difficulty"):
        loop.train(config, tmp_path)


def test_an_imported_tree_gets_the_datasets_exemplars(trained, tmp_path):
    original = {
        "model.final_endpoint": "Mixed_5c", "head.hidden": (256, 128), "head.depth": 5, "head.standardise": False,
        "evaluate.selection": "last",
    }  # fmt: skip
    config = configured(trained[0].config.data.data_dir, **original)
    tree = fakes.tree_state(fakes.feature_size(config.model.width))
    write_zip(tmp_path / "core.pth", tensors(fakes.torch_state("hassony2", config.model.width) | tree))
    imported.import_weights(config, tmp_path / "core.pth", tmp_path / "imported")
    run = Run(config)
    selection, state = restore_chosen(run, tmp_path / "imported")
    assert selection.step == 0
    np.testing.assert_array_equal(state["trainable"]["head"]["first_layer"]["kernel"], tree["first_layer.0.weight"].T)
    intervals = np.asarray(state["constants"]["head"]["intervals"])
    assert (np.diff(intervals[8:, 0]) > 0).all() and intervals[15, 1] == 30.0
    bank = bank_of(state)
    assert np.ptp(bank["features"][:5], axis=0).max() > 0 and (bank["row"] >= 0).sum() == 5


def table_of(**columns):
    return VideoTable({"id": [f"v{i}" for i in range(6)], **columns})


ROWS = {"train": np.arange(4), "validation": np.array([4]), "test": np.array([5])}


def settings_by(by):
    return config_lib.resolve(tiny_config(".", **{"head.exemplars_by": by})).head


def test_keys_are_what_videos_share():
    table = table_of(
        difficulty=[1.6, 2.0, 1.6, 3.0000001, 2.0, 3.0], dive_number=["5255B", "107B", "5255B", "a", "a", "a"]
    )
    np.testing.assert_array_equal(exemplar_keys(table, ROWS, settings_by("random")), np.zeros(6))
    keys = exemplar_keys(table, ROWS, settings_by("difficulty"))
    assert keys.dtype == np.float32
    np.testing.assert_array_equal(keys, np.array([1.6, 2.0, 1.6, 3.0, 2.0, 3.0], np.float32))
    numbers = exemplar_keys(table, ROWS, settings_by("dive_number"))
    assert len(set(numbers)) == 3 and numbers[0] == numbers[2] and numbers[3] == numbers[5]
    assert all(float(number) == int(number) for number in numbers)


def test_videos_that_share_nothing_are_named():
    with pytest.raises(DataError, match=r"no column dive_number: choose config\.head\.exemplars_by=difficulty or"):
        exemplar_keys(table_of(difficulty=[1.6] * 6), ROWS, settings_by("dive_number"))
    with pytest.raises(DataError, match=r"no column difficulty: choose config\.head\.exemplars_by=random"):
        exemplar_keys(table_of(), ROWS, settings_by("difficulty"))
    with pytest.raises(DataError, match="1 videos have none, for instance v1"):
        exemplar_keys(table_of(difficulty=[1.6, None, 1.6, 1.6, 1.6, 1.6]), ROWS, settings_by("difficulty"))
    with pytest.raises(DataError, match="2 videos have none, for instance v1, v5"):
        numbers = table_of(difficulty=[1.6] * 6, dive_number=["a", "", "a", "a", "a", ""])
        exemplar_keys(numbers, ROWS, settings_by("dive_number"))
    with pytest.raises(DataError, match=r"of 1 videos of the validation split: v4 \(difficulty 2\.4\)"):
        exemplar_keys(table_of(difficulty=[1.6, 1.6, 1.6, 2.0, 2.4, 2.0]), ROWS, settings_by("difficulty"))
    held_out = table_of(difficulty=[1.6, 1.6, 1.6, 2.0, 2.4, 2.4])
    with pytest.raises(DataError, match=r"held out for validation, another config\.seed"):
        exemplar_keys(held_out, ROWS, settings_by("difficulty"))
