"""Which step's weights a result speaks of. Every rule is computed and named; validation is the default.

A history is a list of evaluations, each a mapping
`{"step": int, "validation": {metric: float | None}, "test": {metric: float | None}}`; "test" may be absent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aqa_jax.errors import ConfigError, RunError
from aqa_jax.evaluate.metrics import HIGHER_IS_BETTER

RULES = {
    "best_on_validation": "the best step on the validation split; the test split has no say (default)",
    "last": "the last step",
    "best_on_test": "the best step on the test split itself, as the papers do: optimistic",
}
"""Every rule by name, and what it means."""

DEFAULT_RULE = "best_on_validation"


@dataclass(frozen=True)
class Selection:
    """A selected step.

    `value` is the metric that won, on `split`; both are None for the rule "last".
    """

    rule: str
    step: int
    metric: str | None = None
    split: str | None = None
    value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields, and the rule's meaning in words."""
        return asdict(self) | {"meaning": RULES[self.rule]}


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
    """Every rule's selection for metrics.json; a rule that cannot choose says why under "undefined"."""
    result = {}
    for rule in RULES:
        try:
            result[rule] = select(history, rule, metric).to_dict()
        except RunError as error:
            result[rule] = {"rule": rule, "meaning": RULES[rule], "undefined": str(error)}
    return result
