"""Which step's weights a result speaks of. Every rule is computed and named; validation is the default.

A history is a list of evaluations, each a mapping
`{"step": int, "validation": {metric: float | None}, "test": {metric: float | None}}`; "test" may be absent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aqa_jax.errors import ConfigError, RunError
from aqa_jax.evaluate.metrics import HIGHER_IS_BETTER

LAST = 10  # evaluations behind the mean

RULES = {
    "best_on_validation": "the best step on the validation split; the test split has no say (default)",
    "last": "the last step",
    "best_on_test": "the best step on the test split itself, as the papers do: optimistic",
}
"""Every rule that chooses a step, and what it means."""

MEAN_OF_LAST = f"mean_of_last_{LAST}"
ALL_RULES = RULES | {
    MEAN_OF_LAST: f"no step: the mean test figures of the last {LAST} evaluations, as MUSDL's JIGSAWS logs report",
}
"""Those by which figures are reported."""

DEFAULT_RULE = "best_on_validation"


@dataclass(frozen=True)
class Selection:
    """A selected step.

    `value` is the metric that won, on `split`; both are None for the rule "last". `passed_over` are steps that the rule
    would have chosen, or might have, whose checkpoints are damaged.
    """

    rule: str
    step: int
    metric: str | None = None
    split: str | None = None
    value: float | None = None
    passed_over: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields, and the rule's meaning in words; `passed_over` only where something was."""
        fields = asdict(self)
        passed_over = list(fields.pop("passed_over"))
        return fields | ({"passed_over": passed_over} if passed_over else {}) | {"meaning": RULES[self.rule]}


def select(history: Sequence[Mapping[str, Any]], rule: str = DEFAULT_RULE, metric: str = "rho") -> Selection:
    """The step that `rule` chooses; of equal values the earliest step. An undefined value never wins.

    Raises:
      ConfigError: unknown rule or metric.
      RunError: no evaluation in the history has a value to go by.
    """
    if rule not in RULES:
        raise ConfigError(f"unknown selection rule {rule!r}: choose one of {', '.join(RULES)}")
    if metric not in HIGHER_IS_BETTER:
        raise ConfigError(f"cannot select by {metric!r}: choose one of {', '.join(HIGHER_IS_BETTER)}")
    if not history:
        raise RunError("nothing to select from: no evaluation has been made")
    if rule == "last":
        return Selection(rule, max(int(entry["step"]) for entry in history))
    split = rule.removeprefix("best_on_")
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    best: Selection | None = None
    for entry in sorted(history, key=lambda entry: int(entry["step"])):
        value = (entry.get(split) or {}).get(metric)
        # A NaN fails both comparisons with itself, and so counts as undefined.
        if value is None or value != value:
            continue
        if best is None or best.value is None or sign * value > sign * best.value:
            best = Selection(rule, int(entry["step"]), metric, split, float(value))
    if best is None:
        raise RunError(
            f"{rule}: none of {len(history)} evaluations has a {split} {metric}. "
            f"Evaluate on the {split} split during training, or choose the rule 'last'"
        )
    return best


def select_all(history: Sequence[Mapping[str, Any]], metric: str = "rho") -> dict[str, dict[str, Any]]:
    """Every rule's selection for metrics.json; a rule that cannot choose says why under "undefined".

    `mean_of_last_10` has no "step" but "steps", and its figures under "test".
    """
    result: dict[str, dict[str, Any]] = {}
    for rule, meaning in ALL_RULES.items():
        try:
            chosen = mean_of_last(history) if rule == MEAN_OF_LAST else select(history, rule, metric).to_dict()
            result[rule] = {"rule": rule, **chosen, "meaning": meaning}
        except RunError as error:
            result[rule] = {"rule": rule, "meaning": meaning, "undefined": str(error)}
    return result


def mean_of_last(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of the test figures of the last ten evaluations.

    Returns:
      "steps" of the ten, and "test": {metric: mean}, with None and a reason under "undefined" for each metric that is
      None in one of them.

    Raises:
      RunError: fewer than ten evaluations, or one of the last ten without test figures.
    """
    last = sorted(history, key=lambda entry: int(entry["step"]))[-LAST:]
    if len(last) < LAST:
        raise RunError(f"{MEAN_OF_LAST}: {len(last)} evaluations were made, {LAST} are needed")
    if not all(entry.get("test") for entry in last):
        raise RunError(f"{MEAN_OF_LAST}: the test split was not evaluated during training: config.evaluate.track_test")
    figures = [entry["test"] for entry in last]
    means: dict[str, Any] = {}
    undefined: dict[str, str] = {}
    for name in figures[0]:
        values = [entry.get(name) for entry in figures]
        if name == "num_examples":
            means[name] = values[0]
        elif any(value is None for value in values):
            means[name] = None
            undefined[name] = f"it is undefined in {sum(value is None for value in values)} of {LAST} evaluations"
        elif all(isinstance(value, int | float) for value in values):
            means[name] = sum(values) / LAST
    return {"steps": [int(entry["step"]) for entry in last], "test": means | {"undefined": undefined}}
