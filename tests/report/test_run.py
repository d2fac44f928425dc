"""The reports of a run and of runs side by side are made from what a finished workdir holds."""

import dataclasses
import json

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax import modes
from aqa_jax.data.build import build
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.evaluate import results
from aqa_jax.evaluate.metrics import score_metrics
from aqa_jax.files import write_json
from aqa_jax.report.comparison import comparison_report, short_names
from aqa_jax.report.figures import coverage_rows, figure_rows
from aqa_jax.report.run import PICTURES, _training, run_report
from aqa_jax.report.worst import worst_cases
from tests.report.parsed import check_report
from tests.tiny import tiny_config

OPTIONS = "train_videos=6,test_videos=14"
# The smallest PNG.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fcffff3f030005fe02fe"
    "a1399a1e0000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    options = dict(part.split("=") for part in OPTIONS.split(","))
    return VideoStore.open(build("synthetic_dives", data_dir=data_dir, options=options, workers=0))


def configured(store, **changes):
    data_dir = store.directory.parents[2]
    return config_lib.resolve(tiny_config(data_dir, **{"data.options": OPTIONS, **changes}))


def write_run(
    folder,
    store,
    *,
    noise=3.0,
    seed=0,
    protocol="data: test on group=Smith; <b>bold</b>; 1 video(s) EXCLUDED: Mr; Miller",
    **changes,
):
    """What a finished run leaves, with predictions of known errors."""
    config = configured(store, **changes)
    rows = store.table.rows("test")
    label, ids = store.table.column("score")[rows], store.table.column("id")[rows]
    rng = np.random.default_rng(seed)
    mean = label + rng.normal(0, noise, len(label))
    mean[3] = label[3] + 40.0
    sigma = np.full(len(label), 4.0)
    metrics = score_metrics(label, mean, sigma, bootstrap=20)
    parts = {"test": {"ids": "ab"}, "selection": "last"}
    results.write_predictions(
        folder / "evaluation" / "predictions.csv",
        results.prediction_columns(ids, "test", label, mean, sigma, group=store.table.column("group")[rows],
                                   unfamiliar=np.arange(len(label)) == 3),
    )  # fmt: skip
    results.write_metrics(
        folder / "evaluation" / "metrics.json", metrics, split="test", protocol=protocol,
        selection={"rule": "last", "step": 12, "meaning": "the last step"}, checkpoint_step=12, seed=0,
        config_hash=config_lib.fingerprint(config), dataset_fingerprint=store.fingerprint,
        protocol_fingerprint={"id": "0123", "parts": parts}, videos={"train": 6, "validation": 0, "test": len(label)},
        all_selections={
            "last": {"step": 12, "meaning": "the last step", "test": metrics},
            "mean_of_last_10": {"undefined": "8 evaluations were made, 10 are needed"},
        },
        recalibration={"raw": "no validation split"}, familiarity={"flagged": 0.25},
    )  # fmt: skip
    write_json(folder / "config.json", json.loads(config_lib.to_json(config)))
    (folder / "curves.png").write_bytes(PNG)
    (folder / "evaluation" / "scatter.png").write_bytes(PNG)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory, store):
    folder = tmp_path_factory.mktemp("runs") / "first"
    return folder, write_run(folder, store)


def test_a_run_s_report(run, store):
    folder, config = run
    text = run_report(folder, config)
    page = check_report(text)
    metrics = results.read_metrics(folder / "evaluation" / "metrics.json")["metrics"]
    worst = store.table.column("id")[store.table.rows("test")[3]]
    for words in (
        f"{metrics['rho']:.3f}".replace("-", "−"), f"{metrics['mae']:.2f}", "<b>bold</b>", "the last step",
        "Sigma and intervals: raw: no validation split", "Unlike the training videos: 25.0% of the test videos",
        "8 evaluations were made", "config.model.width", "0.05", "python scripts/controls.py", f"{worst} ·", "(+40.0)",
        "misses it", "unlike the training videos",
    ):  # fmt: skip
        assert words in page.text, words
    assert "<b>" not in text
    sources = [attrs["src"] for attrs in page.all("img")]
    assert sum(source.startswith("data:image/png") for source in sources) == 2
    assert sum(source.startswith("data:image/webp") for source in sources) == 8
    captions = {name: caption for name, _, caption in PICTURES}
    assert captions["scatter.png"] in page.text and captions["reliability.png"] not in page.text


def test_the_report_counts_the_parameters_once(run):
    folder, config = run
    page = check_report(run_report(folder, config, thumbnails=False))
    from aqa_jax.train.run import Run

    assert f"{Run(config).assembler.parameters:,}" in page.text
    assert "data:image/webp" not in "".join(attrs["src"] for attrs in page.all("img"))


def test_controls_stand_beside_the_run_if_they_are_of_its_data(tmp_path, store):
    config = write_run(tmp_path, store)
    figures = {"rho": 0.321, "rl2": 4.5, "mae": 9.87, "confidence": {"rho": [0.2, 0.4]}}
    for fingerprint, shown in ((store.fingerprint, True), ("another", False)):
        content = {"dataset_fingerprint": fingerprint, "window": 32, "controls": {"ridge on <i>": figures}}
        write_json(tmp_path / "evaluation" / "controls.json", {"schema": "aqa_jax.controls/1", **content})
        page = check_report(run_report(tmp_path, config, thumbnails=False))
        assert ("ridge on <i>" in page.text) == ("0.200 to 0.400" in page.text) == shown


def test_worst_cases_are_the_largest_errors_and_their_pictures_the_dataset_s(run, store):
    folder, config = run
    predictions = folder / "evaluation" / "predictions.csv"
    found = worst_cases(predictions, config, store.fingerprint, thumbnails=True, names=True, cases=3)
    errors = [abs(row["error"]) for row in found["rows"]]
    columns = results.read_predictions(predictions)
    assert errors == sorted(np.abs(columns["mean"] - columns["score"]), reverse=True)[:3]
    assert found["rows"][0]["error"] == pytest.approx(40) and found["rows"][0]["unfamiliar"]
    assert all(row["picture"] for row in found["rows"]) and found["without"] == ""


def test_a_damaged_log_is_said_and_the_rest_of_it_shown(tmp_path):
    (tmp_path / "logs").mkdir()
    lines = [f'{{"step": {n}, "kind": "train", "step_seconds": 0.{n}}}' for n in (1, 2, 3)]
    log = tmp_path / "logs" / "train.jsonl"
    log.write_text("\n".join(lines))
    whole = [("steps", 3), ("seconds a step (median)", 0.2)]
    assert _training(tmp_path) == whole
    log.write_bytes("\n".join([*lines, '{"step": 4, "ki']).encode() + b"\xff\n")
    said = ("log", "1 of 4 lines of logs/train.jsonl cannot be read and are left out")
    assert _training(tmp_path) == [*whole, said]
    log.unlink()
    assert _training(tmp_path) == []
    log.mkdir()
    assert _training(tmp_path) == [("log", "logs/train.jsonl cannot be read (Is a directory)")]


def test_names_can_be_left_out(run, store):
    folder, config = run
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, test_where="group=Smith", exclude="Mr; Miller")
    )
    text = run_report(folder, config, thumbnails=False, names=False)
    rows = store.table.rows("test")
    assert "Smith" not in text and "Miller" not in text and "1 video(s) EXCLUDED" in text and "test on group=…" in text
    for column in ("id", "group"):
        assert not [name for name in store.table.column(column)[rows] if name in text]
    assert str(store.directory.parents[2]) not in text and "case 1" in text


@pytest.mark.parametrize("changes", [{"data.data_dir": "nowhere"}, {"data.options": "train_videos=5,test_videos=14"}])
def test_a_dataset_that_is_elsewhere_is_not_built(run, store, changes):
    folder, _ = run
    config = configured(store, **changes)
    page = check_report(run_report(folder, config))
    assert "No pictures: the dataset is not in" in page.text
    assert not any(store.directory.parents[1].glob("*-*/*incomplete*"))


def test_another_dataset_gives_no_pictures(run):
    folder, config = run
    found = worst_cases(folder / "evaluation" / "predictions.csv", config, "another", thumbnails=True, names=True)
    assert "is not the one that was evaluated" in found["without"]


def test_a_pretraining_s_report_has_its_own_figures(tmp_path, store):
    config = dataclasses.replace(write_run(tmp_path, store), task="vspp")
    path = tmp_path / "evaluation" / "metrics.json"
    content = json.loads(path.read_text())
    figures = {"num_examples": 20, "loss": 2.13, "pace_accuracy": 0.55, "paces": [1, 2], "confidence": {}}
    selections = {"last": {"step": 12, "meaning": "the last step", "test": figures}}
    write_json(path, content | {"metrics": figures, "all_selections": selections})
    (tmp_path / "evaluation" / "predictions.csv").unlink()
    page = check_report(run_report(tmp_path, config))
    assert "vspp on synthetic_dives" in page.text and page.text.count("0.550") == 3
    for words in ("Worst cases", "Beside cheap controls", "bootstrap over videos"):
        assert words not in page.text


def test_figures_of_unknown_name_are_shown_as_they_are():
    (row,) = figure_rows({"pace_accuracy": 0.5, "undefined": {}, "coverage_50": 0.4, "flag": True})
    assert row["name"] == "pace accuracy" and row["value"] == "0.500" and row["headline"]
    assert coverage_rows({"coverage_90": 0.8, "width_90": 2.0}) == [(90, 0.8, 2.0)]


def test_runs_side_by_side(tmp_path, store):
    write_run(tmp_path / "a", store)
    write_run(tmp_path / "b<i>", store, noise=20.0, seed=1, **{"train.steps": 77, "data.threads": 3})
    text = comparison_report([tmp_path / "a", tmp_path / "b<i>"])
    page = check_report(text)
    assert "<i>" not in text and "a, b<i>" in page.text
    assert "config.train.steps" in page.text and "77" in page.text
    assert "config.data.threads" not in page.text, "it changes no result"
    assert page.text.count("is better") == 3 and "MAE" in page.text


def test_of_runs_side_by_side_too_names_can_be_left_out(tmp_path, store):
    write_run(tmp_path / "a", store)
    write_run(tmp_path / "b", store, **{"data.exclude": "Miller", "train.steps": 77})
    path = tmp_path / "b" / "evaluation" / "metrics.json"
    content = json.loads(path.read_text())
    content["protocol_fingerprint"]["parts"]["excluded"] = ["Miller"]
    write_json(path, content | {"protocol_fingerprint": content["protocol_fingerprint"] | {"id": "4567"}})
    runs = [tmp_path / "a", tmp_path / "b"]
    whole, without = (comparison_report(runs, allow_different_protocols=True, names=names) for names in (True, False))
    assert whole.count("Miller") == 2 and "Miller" not in without
    assert "excluded: others" in without and "config.train.steps" in without


def test_modes(run, store, tmp_path, capsys):
    folder, config = run
    request = modes.Request(config, folder)
    assert modes.run("report", request) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    check_report((folder / "report.html").read_text(encoding="utf-8"))
    (folder / "report.html").unlink()
    for wrong, error, words in (
        (modes.Request(config, folder, runs=("a", "b")), ConfigError, "--output FILE.html"),
        (modes.Request(config, folder, output=tmp_path / "x.pdf"), ConfigError, "FILE.html"),
        (modes.Request(config, tmp_path), ConfigError, "--workdir RUN"),
    ):
        with pytest.raises(error, match=words):
            modes.run("report", wrong)


def test_a_run_without_results_says_what_to_do(tmp_path, store):
    with pytest.raises(DataError, match="--mode train"):
        run_report(tmp_path, configured(store))


def test_short_names_leave_out_what_all_share():
    assert short_names(["/x/y/a", "/x/y/b/c"]) == ["a", "b/c"]
    assert short_names(["runs/a", "runs/a"]) == ["a", "a"]
