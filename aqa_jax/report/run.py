"""The report of one run: what was trained, how it was tested, what came out, where it was most wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.errors import DataError
from aqa_jax.evaluate import results
from aqa_jax.evaluate.protocol import without_ids
from aqa_jax.files import read_json
from aqa_jax.report import images, page
from aqa_jax.report.figures import coverage_rows, figure_rows, selection_rows
from aqa_jax.report.worst import worst_cases
from aqa_jax.train.log import read_log

# Keys whose values may name people, or folders of this machine.
TELLING = ("data.data_dir", "data.raw_dir", "data.exclude", "data.test_where", "model.weights", "adapter.file")
CONTROLS = "aqa_jax.controls/1"
PICTURES = (
    (
        "scatter.png",
        "Predicted over true scores",
        "Predicted over true scores of the test videos, with 90 % intervals.",
    ),
    ("reliability.png", "Reliability", "How many labels the intervals hold, over how many they should."),
    ("uncertainty.png", "Error by uncertainty", "Where σ is larger, the error should be: means of ten bins."),
    ("confusion.png", "Answers of the pretext task", "Of each true class, the share of every answer."),
    ("curves.png", "Training curves", "The loss, and the figure that the step is chosen by, over steps."),
)


def run_report(workdir: Path, config: Config, *, thumbnails: bool = True, names: bool = True) -> str:
    """The report of the finished run in ``workdir`` as the text of one HTML file.

    Args:
      workdir: of the run.
      config: its config; the dataset is looked for where that says.
      thumbnails: whether pictures of the dataset's videos may be in it.
      names: whether ids and groups may be in it.

    Raises:
      DataError: the run has no results, or they are damaged.
    """
    folder = workdir / "evaluation"
    if not (folder / "metrics.json").exists():
        raise DataError(
            f"{workdir} has no results yet: finish it with --mode train, or write them with --mode evaluate."
        )
    content = results.read_metrics(folder / "metrics.json")
    metrics = content["metrics"]
    predictions = folder / "predictions.csv"
    found = [(words, caption, _picture(workdir, name)) for name, words, caption in PICTURES]
    return page.render(
        "run.html",
        name=workdir.resolve().name,
        config=config,
        content=content,
        headline=[row for row in figure_rows(metrics) if row["headline"]],
        figures=figure_rows(metrics),
        coverage=coverage_rows(metrics),
        by_key={row["key"]: row for row in figure_rows(metrics)},
        resamples=(metrics.get("confidence") or {}).get("resamples"),
        compared=[(row["key"], row["name"]) for row in figure_rows(metrics) if row["headline"]],
        undefined=metrics.get("undefined") or {},
        selections=selection_rows(content.get("all_selections", {}), content["selection"]["rule"]),
        protocol=_protocol(content["protocol"], config, names),
        trust=_trust(content),
        controls=_controls(folder, content["dataset_fingerprint"]),
        pictures=[one for one in found if one[2] is not None],
        worst=worst_cases(predictions, config, content["dataset_fingerprint"], thumbnails=thumbnails, names=names)
        if predictions.exists()
        else None,
        parameters=parameters(config),
        changed=[one for one in _changed(config) if names or one[0].removeprefix("config.") not in TELLING],
        settings=[(f"config.{key}", item) for key, item, _ in config_lib.walk(config) if names or key not in TELLING],
        training=_training(workdir),
        fingerprint=[
            (key, item)
            for key, item in page.leaves((content.get("protocol_fingerprint") or {}).get("parts", {}))
            if names or key != "excluded"
        ],
    )


def parameters(config: Config) -> dict[str, tuple[int, int]]:
    """Trainable and frozen parameters by part."""
    from aqa_jax.train import state as states
    from aqa_jax.train.run import Run

    assembler = Run(config).assembler
    return states.parameter_counts(assembler.abstract, assembler.parameters)


def _picture(workdir: Path, name: str) -> str | None:
    return images.png_file(workdir / name if name == "curves.png" else workdir / "evaluation" / name)


def _protocol(words: str, config: Config, names: bool) -> list[str]:
    """Its parts; without names the values that videos were chosen by, and the ids of those left out, are not told."""
    if not names:
        words = without_ids(words, config)
        if chosen := config.data.test_where:
            words = words.replace(chosen, chosen.partition("=")[0] + "=…")
    return [part.strip() for part in words.split(";")]


def _trust(content: Mapping[str, Any]) -> list[str]:
    from aqa_jax.evaluate.recalibration import Recalibration

    lines = []
    if (learnt := content.get("recalibration")) is not None:
        raw = learnt.get("raw")
        lines.append(f"Sigma and intervals: {f'raw: {raw}' if raw else Recalibration.from_dict(learnt).words}.")
    if (near := content.get("familiarity")) is not None:
        lines.append(f"Unlike the training videos: {near['flagged']:.1%} of the test videos.")
    return lines


def _controls(folder: Path, dataset: str) -> list[dict[str, Any]]:
    """What cheap statistics reach on the same videos, where that was asked for."""
    if not (folder / "controls.json").exists():
        return []
    content = read_json(folder / "controls.json", CONTROLS)
    if content["dataset_fingerprint"] != dataset:
        return []
    return [
        {"name": name, "figures": {row["key"]: row for row in figure_rows(figures)}}
        for name, figures in content["controls"].items()
    ]


def _changed(config: Config) -> list[tuple[str, Any, str]]:
    """Keys that are not at their default: name, value, meaning."""
    default = {key: item for key, item, _ in config_lib.walk(Config())}
    return [
        (f"config.{key}", item, doc)
        for key, item, doc in config_lib.walk(config)
        if default[key] != item and config_lib.changes_the_result(key)
    ]


def _training(workdir: Path) -> list[tuple[str, Any]]:
    """Steps and pace, from the log, and what of the log cannot be read."""
    path = workdir / "logs" / "train.jsonl"
    if not path.exists():
        return []
    try:
        written, lines = len([line for line in path.read_bytes().splitlines() if line.strip()]), read_log(path.parent)
    except OSError as error:
        return [("log", f"logs/train.jsonl cannot be read ({error.strerror})")]
    steps = [line for line in lines if line.get("kind") == "train" and isinstance(line.get("step_seconds"), float)]
    facts: list[tuple[str, Any]] = []
    if steps:
        paces = sorted(line["step_seconds"] for line in steps)
        facts = [("steps", steps[-1]["step"]), ("seconds a step (median)", paces[len(paces) // 2])]
    if damaged := written - len(lines):
        facts.append(("log", f"{damaged} of {written} lines of logs/train.jsonl cannot be read and are left out"))
    return facts
