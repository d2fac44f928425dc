"""Metrics for tables: their names, meanings, digits and intervals."""

from collections.abc import Mapping
from typing import Any

from aqa_jax.evaluate.calibration import LEVELS
from aqa_jax.report.page import number

# name, digits, meaning
NAMES = {
    "rho": ("Spearman’s ρ", 3, "are the videos in the right order? 1: all"),
    "tau": ("Kendall’s τ", 3, "share of pairs in the right order, less that in the wrong one"),
    "rl2": ("R-ℓ2 (×100)", 3, "mean of the squared error over the scores’ range"),
    "l2": ("ℓ2", 2, "mean squared error"),
    "mae": ("MAE", 2, "mean absolute error, in points"),
    "nll": ("NLL", 3, "negative log-likelihood, in nats: low where scores are near and σ is true"),
    "crps": ("CRPS", 3, "as NLL, in points"),
    "nll_constant": ("NLL of one σ for all", 3, "what the individual σ must beat"),
    "nll_gain": ("NLL saved by individual σ", 3, "above 0: σ tells one video from another"),
    "crps_constant": ("CRPS of one σ for all", 3, ""),
    "crps_gain": ("CRPS saved by individual σ", 3, ""),
    "sharpness": ("sharpness", 2, "root mean square of σ, in points"),
    "coverage_90": ("90 % intervals hold", 3, "share of the labels"),
    "uncertainty_tau": ("τ of σ and error", 3, "1: errors grow with σ, bin by bin"),
    "num_examples": ("test videos", 0, ""),
}
HEADLINE = ("rho", "mae", "segment_accuracy", "pace_accuracy", "mean_r2")


def figure_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a metric that is one number, but for coverage: key, name, value as text, 95 % interval as text, meaning."""
    intervals = metrics.get("confidence") or {}
    rows = []
    for key, found in metrics.items():
        if isinstance(found, bool) or not isinstance(found, int | float) or key.startswith(("coverage_", "width_")):
            continue
        name, digits, meaning = NAMES.get(key, (key.replace("_", " "), 3, ""))
        interval = intervals.get(key)
        rows.append({
            "key": key, "name": name, "value": number(found, digits), "meaning": meaning,
            "interval": f"{number(interval[0], digits)} to {number(interval[1], digits)}" if interval else "–",
            "headline": key in HEADLINE,
        })  # fmt: skip
    return sorted(rows, key=lambda row: list(NAMES).index(row["key"]) if row["key"] in NAMES else len(NAMES))


def coverage_rows(metrics: Mapping[str, Any]) -> list[tuple[int, float, float]]:
    """(level in per cent, share of the labels that its intervals hold, their mean width in points)."""
    known = [level for level in LEVELS if metrics.get(f"coverage_{level}") is not None]
    return [(level, metrics[f"coverage_{level}"], metrics[f"width_{level}"]) for level in known]


def selection_rows(selections: Mapping[str, Mapping[str, Any]], chosen: str) -> list[dict[str, Any]]:
    """A row a rule by which a step may be chosen, with its test figures."""
    rows = []
    for rule, found in selections.items():
        figures = {row["key"]: row for row in figure_rows(found.get("test") or {})}
        rows.append({
            "rule": rule.replace("_", " "), "chosen": rule == chosen, "meaning": found.get("meaning", ""),
            "step": found.get("step", "–"), "figures": figures, "undefined": found.get("undefined", ""),
        })  # fmt: skip
    return rows
