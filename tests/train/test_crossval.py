"""Folds, seeds and their errors; four folds of JIGSAWS with its real labels, for the heads that are scored on it."""

import csv
import json
import os
import signal

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax.errors import ConfigError, DataError, RunError, WeightsError
from aqa_jax.evaluate import crossval as tables
from aqa_jax.evaluate import results
from aqa_jax.evaluate.metrics import score_metrics
from aqa_jax.files import write_json
from aqa_jax.train import crossval
from configs import jigsaws_musdl, jigsaws_usdl
from tests import jigsaws_rendered
from tests.jigsaws_rendered import FOLDS, LABELS, ids_of

TASK = "Needle_Passing"


def in_this_process(member, folder, running):
    """What ``crossval._in_a_process`` does, without the seconds that a process takes to start."""
    (folder / tables.ERROR).unlink(missing_ok=True)
    return (folder / tables.ERROR).read_text() if crossval.guarded(member.config, folder) else ""


@pytest.fixture
def quick(monkeypatch):
    """Plans without the initial weights of every fold."""
    monkeypatch.setattr(crossval, "initial_state", lambda *_: None)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jigsaws")
    return jigsaws_rendered.write(folder / "raw", ids_of(TASK)), folder / "data"


def make(source, module=jigsaws_usdl, protocol="fourfold", **changes):
    config = module.get_config()
    settings = jigsaws_rendered.settings(*source) | {"crossval.protocol": protocol}
    config.update_from_flattened_dict(settings | changes)
    return config_lib.resolve(config)


def of_trials(tmp_path, trials, labels=None):
    """Another dataset, of some trials."""
    return jigsaws_rendered.write(tmp_path / "raw", trials, labels), tmp_path / "data"


@pytest.mark.parametrize("module", [jigsaws_usdl, jigsaws_musdl])
def test_four_folds_of_jigsaws(source, module, tmp_path, monkeypatch, quick):
    monkeypatch.setattr(crossval, "_in_a_process", in_this_process)
    planned = crossval.plan(make(source, module))
    assert planned.folds == ("0", "1", "2", "3") and planned.column == "fold"
    assert crossval.cross_validate(planned, tmp_path)
    content = tables.write(planned, tmp_path)
    assert content["protocol"]["folds"] == dict.fromkeys("0123", 7) and content["failed"] == {}
    rules = content["runs"][0]["rules"]
    assert set(rules) == {"best_on_validation", "last", "best_on_test", "mean_of_last_10"}
    for name in ("last", "best_on_test"):
        rho = [run["rules"][name]["test"]["rho"] for run in content["runs"]]
        assert content["means"][name]["rho"]["arithmetic"]["mean"] == pytest.approx(np.mean(rho))
        fisher = np.tanh(np.mean(np.arctanh(rho)))
        assert content["means"][name]["rho"]["fisher_z"]["mean"] == pytest.approx(fisher)
    best = content["means"]["best_on_test"]["rho"]["arithmetic"]["mean"]
    assert best >= content["means"]["last"]["rho"]["arithmetic"]["mean"]
    for fold, trials in enumerate(FOLDS[TASK]):
        columns = results.read_predictions(tmp_path / f"fold_{fold}/seed_0/evaluation/predictions.csv")
        assert set(columns["id"]) == set(trials)
        assert dict(zip(columns["id"], columns["score"], strict=True)) == {id_: sum(LABELS[id_]) for id_ in trials}
    text = tables.table(content)
    assert "fourfold, 4 fold(s) by fold, seeds 0; jigsaws: tested by fold; validation: none" in text
    assert text.count("| 7 |") == 4 and "mean of Fisher's z" in text and "nan" not in text
    # Everything is finished: nothing is trained again, and the files stay as they are.
    before = (tmp_path / "crossval.json").read_bytes()
    monkeypatch.setattr(crossval, "_in_a_process", None)
    assert crossval.cross_validate(planned, tmp_path)
    tables.write(planned, tmp_path)
    assert (tmp_path / "crossval.json").read_bytes() == before


def test_every_surgeon_of_every_task_is_left_out_once(tmp_path, quick):
    source = of_trials(tmp_path, sorted(LABELS))
    for task, size, surgeons in (("Suturing", 39, "BCDEFGHI"), (TASK, 28, "BCDEFHI"), ("Knot_Tying", 36, "BCDEFGHI")):
        config = make(source, protocol="louo", **{"data.options": f"task={task},height=36,width=36"})
        planned = crossval.plan(config)
        assert planned.folds == tuple(surgeons) and planned.column == "group"
        assert sum(member.num_examples for member in planned.members) == size
        parts = [member.fingerprint["parts"] for member in planned.members]
        assert len({part["test"]["ids"] for part in parts}) == len(surgeons)
        # Those tested and those trained on are together the task's videos.
        assert {part["test"]["videos"] + part["training"]["videos"] for part in parts} == {size}


def test_seeds_weights_of_their_own_and_what_stays_out_of_the_runs(source):
    config = make(source, **{"crossval.seeds": 2, "seed": 5, "adapter.kind": "3d", "predict.samples": 3})
    planned = crossval.plan(config)
    assert planned.seeds == (5, 6) and [m.folder for m in planned.members][:3] == [
        "fold_0/seed_5", "fold_0/seed_6", "fold_1/seed_5",
    ]  # fmt: skip
    one = planned.members[1].config
    assert (one.seed, one.data.test_where, one.predict.samples) == (6, "fold=0", 0)
    assert one.crossval == config_lib.Config().crossval
    with pytest.raises(WeightsError, match=r"Fold 0, seed 0: .*pecop_0\.safetensors"):
        crossval.plan(make(source, **{"adapter.kind": "3d", "adapter.file": "pecop_{fold}.safetensors"}))


@pytest.mark.parametrize(
    ("protocol", "changes", "message"),
    [
        (
            "louu",
            {},
            "jigsaws has no such protocol or column; there are the protocols fourfold, loso, louo, or the col",
        ),
        ("judges", {}, "no such protocol or column"),
        ("task", {}, "all 28 videos have the task Needle_Passing: tested on it, none is left to train on"),
        ("level", {}, "all 0 videos have the level none"),
        ("score", {}, r"folds with fewer than 3 videos, .*: score=\d+ \(\d\)"),
        ("id", {}, r"id=\w+ \(1\).* and 18 more"),
        ("fourfold", {"train.batch_size": 24}, "Fold 0, seed 0: config.train.batch_size=24, but there are 21"),
        ("fourfold", {"model.weights": "nowhere.pt"}, "Fold 0, seed 0: .*nowhere.pt"),
        (
            "fourfold",
            {"data.window": 100, "data.clip_starts": (0,)},
            "Fold 0, seed 0: 7 videos have fewer frames than the window of 100",
        ),
        ("", {"data.test_where": ""}, "has no test split"),
    ],
)
def test_impossible_folds_are_refused_before_the_first_step(source, protocol, changes, message):
    with pytest.raises((ConfigError, DataError, WeightsError), match=message):
        crossval.plan(make(source, protocol=protocol, **changes))


def test_excluded_videos_are_in_no_fold(source, quick):
    surgeons = crossval.plan(make(source, protocol="louo")).folds
    first = [id_ for id_ in ids_of(TASK) if id_.startswith(f"{TASK}_{surgeons[0]}")]
    without = crossval.plan(make(source, protocol="louo", **{"data.exclude": ",".join(first)}))
    assert without.folds == surgeons[1:]
    with pytest.raises(ConfigError, match=f"fewer than 3 videos.*group={surgeons[0]} \\(2\\)"):
        crossval.plan(make(source, protocol="louo", **{"data.exclude": ",".join(first[2:])}))


def test_one_surgeon_cannot_be_left_out(tmp_path, quick):
    source = of_trials(tmp_path, [id_ for id_ in ids_of(TASK) if "_B0" in id_])
    with pytest.raises(ConfigError, match="louo: all 4 videos have the group B: tested on it, none is left to train"):
        crossval.plan(make(source, protocol="louo"))


def test_folds_that_leave_nothing_to_choose_a_step_by(tmp_path, quick):
    source = of_trials(tmp_path, [id_ for id_ in ids_of(TASK) if id_[-4] in "BC"])
    held = {"data.validation_fraction": 0.3, "evaluate.selection": "best_on_validation"}
    with pytest.raises(DataError, match="Fold B, seed 0: no validation split can be carved"):
        crossval.plan(make(source, protocol="louo", **held))
    # One or two of five videos do not choose a step.
    with pytest.raises(ConfigError, match=r"Fold B, seed 0: .*goes by a rank correlation"):
        crossval.plan(make(source, protocol="louo", **held, **{"data.validation_by": "video"}))
    # By the last step it can be done.
    assert crossval.plan(make(source, protocol="louo")).folds == ("B", "C")


def test_constant_labels_of_a_fold_are_told_before_the_first_step(tmp_path, quick):
    trials = [id_ for id_ in ids_of(TASK) if id_[-4] in "BCD"]
    source = of_trials(tmp_path, trials, {id_: [2] * 6 for id_ in trials if id_[-4] == "C"})
    with pytest.raises(ConfigError, match=r"Fold C, seed 0: .*goes by a rank correlation, which the test split"):
        crossval.plan(make(source, protocol="louo", **{"evaluate.selection": "best_on_test"}))
    assert len(crossval.plan(make(source, protocol="louo")).folds) == 3


def made_up(planned, workdir, scores):
    """Result files as the runs would leave them: ``scores`` by folder, or nothing for a run that is missing."""
    for member in planned.members:
        if member.folder not in scores:
            continue
        y, mean = map(np.asarray, scores[member.folder])
        metrics = score_metrics(y, mean, np.ones(len(y)), bootstrap=0)
        selections = {"last": {"step": 7, "test": metrics}, "best_on_test": {"undefined": "best_on_test: no test rho"}}
        folder = workdir / member.folder
        write_json(folder / "config.json", json.loads(config_lib.to_json(member.config)))
        results.write_metrics(
            folder / "evaluation" / "metrics.json", metrics, split="test", protocol=member.protocol,
            selection={"rule": "last"}, config_hash=config_lib.fingerprint(member.config), dataset_fingerprint="0",
            checkpoint_step=7, seed=member.seed, all_selections=selections,
        )  # fmt: skip
        columns = results.prediction_columns([f"v{n}" for n in range(len(y))], "test", y, mean, np.ones(len(y)))
        results.write_predictions(folder / "evaluation" / "predictions.csv", columns)


Y = np.array([3.0, 1.0, 2.0, 5.0])


def test_constant_labels_leave_rho_undefined_and_never_nan(source, tmp_path, quick):
    planned = crossval.plan(make(source))
    made_up(planned, tmp_path, {m.folder: (np.full(4, 9.0) if m.fold == "2" else Y, Y[::-1]) for m in planned.members})
    content = tables.write(planned, tmp_path)
    assert content["means"]["last"]["rho"]["arithmetic"]["mean"] is None
    assert content["means"]["last"]["mae"]["arithmetic"]["mean"] > 0
    assert "rho is undefined for 2" in str(content["means"]["last"]["rho"]["undefined"])
    text = tables.table(content)
    assert "| 2 | 7 | undefined |" in text and "| **arithmetic mean** |  | undefined |" in text
    assert "nan" not in (text + (tmp_path / "crossval.json").read_text()).lower()
    with (tmp_path / "crossval.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if (row["fold"], row["metric"]) == ("2", "rho")]
    assert row["value"] == "" and row["undefined"] == "all labels are equal"


def test_a_missing_run_leaves_the_means_open(source, tmp_path, quick):
    planned = crossval.plan(make(source, **{"crossval.seeds": 2}))
    whole = {member.folder: (Y, Y + member.seed * np.array([0, 3, 0, 1])) for member in planned.members}
    made_up(planned, tmp_path, whole)
    content = tables.write(planned, tmp_path)
    both = content["means"]["last"]["rho"]["arithmetic"]
    assert both["by_seed"]["0"] == pytest.approx(1) and both["spread"] > 0
    assert content["means"]["last"]["rho"]["fisher_z"]["mean"] is None  # of rho = 1
    assert content["ensemble"]["1"]["test"]["mae"] == pytest.approx(0.5)
    assert tables.table(content).count(" ± ") > 4
    last = tmp_path / planned.members[-1].folder
    (last / "evaluation" / "metrics.json").unlink()
    (last / "error.txt").write_text("RunError: it broke\n")
    content = tables.write(planned, tmp_path)
    text = tables.table(content)
    assert content["failed"] == {"fold_3/seed_1": "RunError: it broke"}
    assert "FAILED fold_3/seed_1: RunError: it broke" in text and "| 3 | 7 | 1 of 2 failed | undefined |" in text
    assert content["means"]["last"]["rho"]["arithmetic"]["mean"] is None


def test_a_fold_that_fails_does_not_lose_the_others(source, tmp_path, monkeypatch, capsys, quick):
    planned = crossval.plan(make(source))
    tried = []

    def half(member, folder, running):
        tried.append(member.fold)
        if member.fold == "1" and len(tried) < 5:
            crossval._write_error(folder, "RunError: no\n")
            return "RunError: no"
        (folder / tables.ERROR).unlink(missing_ok=True)
        made_up(planned, tmp_path, {member.folder: (Y, Y)})
        return ""

    monkeypatch.setattr(crossval, "_in_a_process", half)
    assert not crossval.cross_validate(planned, tmp_path)
    assert tried == ["0", "1", "2", "3"] and list(tables.write(planned, tmp_path)["failed"]) == ["fold_1/seed_0"]
    assert "failed: RunError: no" in capsys.readouterr().err
    # The same command tries that one again, and no other.
    assert crossval.cross_validate(planned, tmp_path)
    assert tried[4:] == ["1"] and tables.write(planned, tmp_path)["failed"] == {}
    said = capsys.readouterr().out
    assert "3 of 4 runs are finished and kept" in said and "Run 4 of 4: fold 1, seed 0" in said
    assert [path.parent.name for path in crossval.finished_runs(tmp_path)] == [f"fold_{n}" for n in range(4)]


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_a_failed_run(source, tmp_path, monkeypatch, quick):
    member = crossval.plan(make(source)).members[0]
    monkeypatch.setattr(crossval, "_member", killed)
    error = crossval._in_a_process(member, tmp_path / member.folder, crossval._Running())
    assert error == "RunError: the process of this run ended with signal 9 (SIGKILL)."
    assert (tmp_path / member.folder / tables.ERROR).read_text().strip() == error


def test_what_is_wrong_in_a_run_is_written_there(source, tmp_path, monkeypatch, quick):
    member = crossval.plan(make(source)).members[0]
    with monkeypatch.context() as patch:
        patch.setattr(crossval.loop, "train", lambda *_: 1 / 0)
        assert crossval.guarded(member.config, tmp_path) == 1
    assert "Traceback" in (tmp_path / tables.ERROR).read_text()
    write_json(tmp_path / "config.json", json.loads(config_lib.to_json(make(source, **{"train.steps": 61}))))
    assert crossval.guarded(member.config, tmp_path) == 1
    assert (tmp_path / tables.ERROR).read_text().startswith("ConfigError: ")


@pytest.mark.parametrize("metrics", ["[]", "{", "\xff", "{}", '{"config_hash": "0"}'])
def test_a_run_with_damaged_metrics_is_not_finished(tmp_path, metrics):
    config = config_lib.Config()
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "config.json").write_text(config_lib.to_json(config))
    whole = json.dumps({"config_hash": config_lib.fingerprint(config)})
    for text in (whole, metrics):
        (tmp_path / "evaluation" / "metrics.json").write_bytes(text.encode("latin-1"))
        assert crossval.is_finished(tmp_path, config) == (text == whole)


def test_a_workdir_belongs_to_one_crossval(source, tmp_path, monkeypatch, quick):
    monkeypatch.setattr(crossval, "_in_a_process", lambda *_: "no")
    planned = crossval.plan(make(source))
    assert not crossval.cross_validate(planned, tmp_path)
    for changes in ({"train.steps": 61}, {"protocol": "loso"}):
        changes |= {"data.threads": 3, "crossval.seeds": 2}  # which may change
        one = r"belongs to another config:\n  config\.(train\.steps|crossval\.protocol): .*\nGive the same config"
        with pytest.raises(ConfigError, match=one):
            crossval.cross_validate(crossval.plan(make(source, **changes)), tmp_path)
    # More seeds may be asked for later.
    assert not crossval.cross_validate(crossval.plan(make(source, **{"crossval.seeds": 2})), tmp_path)
    with crossval._locked(tmp_path / ".lock", wait=False), pytest.raises(RunError, match="is at work in"):
        crossval.cross_validate(crossval.plan(make(source, **{"crossval.seeds": 2})), tmp_path)
    (tmp_path / "single" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is the workdir of a single run"):
        crossval.cross_validate(planned, tmp_path / "single")


def test_an_ensemble_needs_the_same_videos():
    one = {"id": ["a", "b"], "score": [1.0, 2.0], "mean": [1.0, 3.0], "sigma": [1.0, 1.0]}
    other = {"id": ["b", "a"], "score": [2.0, 1.0], "mean": [5.0, 1.0], "sigma": [1.0, 2.0]}
    both = tables.ensemble_of([one, other])
    assert both["mean"].tolist() == [1.0, 4.0] == both["point"].tolist() and both["id"] == ["a", "b"]
    np.testing.assert_allclose(both["sigma"] ** 2, [2.5, 2.0])
    with pytest.raises(DataError, match="different videos"):
        tables.ensemble_of([one, other | {"id": ["b", "c"]}])
