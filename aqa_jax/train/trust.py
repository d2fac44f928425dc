"""How far a checkpoint's scores can be trusted, learnt at the final evaluation on videos that it was not trained on."""

import dataclasses
from typing import Any

import numpy as np

from aqa_jax.errors import DataError
from aqa_jax.evaluate import familiarity as familiarities
from aqa_jax.evaluate import recalibration as recalibrations
from aqa_jax.evaluate.calibration import LEVELS
from aqa_jax.evaluate.familiarity import Familiarity
from aqa_jax.evaluate.recalibration import Recalibration
from aqa_jax.train.evaluation import check_outputs, predict_rows
from aqa_jax.train.run import Run
from aqa_jax.train.state import State

# Figures that a recalibration changes.
_RECALIBRATED = (
    *("nll", "crps", "nll_gain", "crps_gain", "sharpness"),
    *(f"{name}_{level}" for name in ("coverage", "width") for level in LEVELS),
)


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A checkpoint over the test split.

    Attributes:
      outputs: the task's outputs of each test video, after recalibration.
      figures: the task's report on them.
      raw: the figures of the raw sigmas and intervals, where there are others.
      recalibration: what was learnt on the validation split; None: the figures are raw, because of ``why_raw``.
      why_raw: in words.
      validation: the task's outputs of each validation video, if there are any.
    """

    outputs: dict[str, np.ndarray]
    figures: dict[str, Any]
    raw: dict[str, Any] | None = None
    recalibration: Recalibration | None = None
    why_raw: str = ""
    validation: dict[str, np.ndarray] | None = None

    def entries(self) -> dict[str, Any]:
        """For metrics.json, beside the figures: nothing for tasks without sigma."""
        if self.recalibration is not None:
            return {"raw": self.raw, "recalibration": self.recalibration.to_dict()}
        return {"recalibration": {"raw": self.why_raw}} if self.why_raw else {}


def evaluate_checkpoint(run: Run, state: State, step: int) -> Evaluated:
    """The test split's figures, recalibrated by the validation split's residuals where the task predicts scores."""
    config, labels = run.config, run.labels("test")
    outputs = _outputs(run, state, "test", f"test, step {step}")
    if config.task != "score":
        return Evaluated(outputs, run.task.report(outputs, labels, bootstrap=config.evaluate.bootstrap))
    validation, learnt, why_raw = None, None, ""
    if len(run.rows["validation"]):
        validation = _outputs(run, state, "validation", f"validation, step {step}")
    try:
        learnt = _learn(run, validation, step)
    except DataError as error:
        why_raw = str(error)
    raw = None
    if learnt is not None:
        corrected = learnt.apply(outputs)
        # The gains of both are over the same single sigma.
        found = run.task.report({**outputs, "constant_sigma": corrected["constant_sigma"]}, labels, bootstrap=0)
        raw = {name: found[name] for name in _RECALIBRATED}
        raw["undefined"] = {name: why for name, why in found["undefined"].items() if name in _RECALIBRATED}
        outputs = corrected
    figures = run.task.report(outputs, labels, bootstrap=config.evaluate.bootstrap)
    return Evaluated(outputs, figures, raw, learnt, why_raw, validation)


def _learn(run: Run, validation: dict[str, np.ndarray] | None, step: int) -> Recalibration:
    """Raises DataError where nothing can be learnt, and says why."""
    evaluate = run.config.evaluate
    if evaluate.recalibration == "none":
        raise DataError("config.evaluate.recalibration=none")
    if validation is None:
        raise DataError("there is no validation split")
    if step == 0:
        raise DataError("the weights were imported: they may have been trained on the validation videos")
    # A sample lies around the mean; what its interval lies around should not be drawn.
    centre = "point" if evaluate.point == "mode" else "mean"
    return recalibrations.learn(run.labels("validation")["score"], validation, centre=centre)


def learn_familiarity(run: Run, state: State, evaluated: Evaluated) -> Familiarity | None:
    """From the features of the training videos (of many, a sample); None where the config does not ask for it."""
    evaluate, rows = run.config.evaluate, run.rows["train"]
    if run.config.task != "score" or not evaluate.familiarity_neighbours:
        return None
    if len(rows) > familiarities.MAX_VIDEOS:
        chosen = np.random.default_rng(run.config.seed).choice(rows, familiarities.MAX_VIDEOS, replace=False)
        rows = np.sort(chosen)
    training = _outputs(run, state, "train", "features of the training videos", rows)
    validation = None if evaluated.validation is None else parts(evaluated.validation)
    return familiarities.learn(
        parts(training), validation, neighbours=evaluate.familiarity_neighbours, level=evaluate.familiarity_level
    )


def parts(outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """What describes videos for :mod:`aqa_jax.evaluate.familiarity`."""
    return outputs["early"], outputs["features"]


def _outputs(run: Run, state: State, split: str, name: str, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
    outputs = predict_rows(run.output_step, state, run.batches_of(split, rows), name=name)
    check_outputs(outputs, run.store.table.column("id"), name)
    outputs.pop("row")
    return outputs
