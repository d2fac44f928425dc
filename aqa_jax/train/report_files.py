"""What a final evaluation leaves for people and programs beside metrics.json."""

from pathlib import Path
from typing import Any

from aqa_jax import config as config_lib
from aqa_jax.evaluate import familiarity as familiarities
from aqa_jax.evaluate import plots, recalibration, results, uncertainty_plots
from aqa_jax.evaluate.calibration import LEVELS
from aqa_jax.evaluate.familiarity import Familiarity
from aqa_jax.evaluate.selection import Selection
from aqa_jax.train.run import Run
from aqa_jax.train.trust import Evaluated, parts


def write_scores(run: Run, output: Path, chosen: Selection, evaluated: Evaluated, near: Familiarity | None) -> None:
    """Writes predictions, pictures, and what predict needs to say how far a score can be trusted."""
    labels, predicted, figures = run.labels("test"), evaluated.outputs, evaluated.figures
    results.write_predictions(output / "predictions.csv", _columns(run, predicted, near))
    rule = f"{chosen.rule}: step {chosen.step}"
    plots.scatter(
        output / "scatter.png", labels["score"], predicted["point"], predicted["sigma"], title=rule, metrics=figures,
        interval=predicted["intervals"][:, LEVELS.index(90)],
    )  # fmt: skip
    owner = {"rule": chosen.rule, "step": chosen.step, "config_hash": config_lib.fingerprint(run.config)}
    for name in ("recalibration.json", "familiarity.npz", "reliability.png", "uncertainty.png"):
        (output / name).unlink(missing_ok=True)  # of an evaluation before, which had what this one has not
    if evaluated.recalibration is not None:
        recalibration.write(output / "recalibration.json", evaluated.recalibration, owner)
    if near is not None:
        familiarities.write(output / "familiarity.npz", near, owner)
    if len(labels["score"]) >= uncertainty_plots.MIN_VIDEOS:
        learnt_on = evaluated.recalibration.videos if evaluated.recalibration else 0
        uncertainty_plots.reliability(
            output / "reliability.png", labels["score"], predicted, learnt_on=learnt_on, title=rule
        )
        uncertainty_plots.error_by_uncertainty(
            output / "uncertainty.png", labels["score"] - predicted["point"], predicted["sigma"], figures=figures,
            title=rule,
        )  # fmt: skip


def _columns(run: Run, predicted: dict[str, Any], near: Familiarity | None) -> dict[str, Any]:
    table, rows, labels = run.store.table, run.rows["test"], run.labels("test")
    extra: dict[str, Any] = {"group": table.column("group")[rows]}
    if run.config.evaluate.point != "mean":
        extra["point"] = predicted["point"]
    if "raw_sigma" in predicted:
        extra["raw_sigma"] = predicted["raw_sigma"]
    if near is not None:
        extra["distance"] = near.distance(parts(predicted))
        extra["unfamiliar"] = near.unfamiliar(extra["distance"]).astype(int)
    return results.prediction_columns(
        table.column("id")[rows], "test", labels["score"], predicted["mean"], predicted["sigma"],
        labels.get("difficulty"), intervals=predicted["intervals"], **extra,
    )  # fmt: skip


def familiarity_entry(near: Familiarity, outputs: dict[str, Any]) -> dict[str, Any]:
    """For metrics.json: what was learnt, and the share of the test videos that it flags."""
    return {**near.to_dict(), "flagged": float(near.unfamiliar(near.distance(parts(outputs))).mean())}


def write_confusions(output: Path, segments: int, figures: dict[str, Any]) -> None:
    """The pretext task's picture."""
    classes = {"segment": [str(n + 1) for n in range(segments)], "pace": [str(pace) for pace in figures["paces"]]}
    plots.confusions(output / "confusion.png", {n: (figures[f"{n}_confusion"], names) for n, names in classes.items()})
