"""Pictures of a run: predicted against true scores, and training curves. Needs no display."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from aqa_jax.evaluate import calibration
from aqa_jax.files import replacing

# Okabe and Ito's palette: told apart in the common forms of colour blindness; the line styles differ as well.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"


def scatter(
    path: str | os.PathLike[str],
    score: np.ndarray,
    mean: np.ndarray,
    sigma: np.ndarray | None = None,
    *,
    interval: np.ndarray | None = None,
    title: str = "",
    metrics: Mapping[str, Any] | None = None,
    unit: str = "score points",
) -> None:
    """Draws predicted over true scores, with the 90 % intervals if there is a sigma, as a PNG.

    Labels that lie outside their interval are orange squares. `score`, `mean` and `sigma` are float [N], `interval`
    [N, 2] is low and high where these are not the normal distribution's, and `metrics` is what `score_metrics`
    returned, for the caption.
    """
    figure, axes = new_figure(5.6, 5.6)
    score, mean = np.asarray(score, float), np.asarray(mean, float)
    axes.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle="--", zorder=1)
    # Many points hide one another: fainter the more there are.
    alpha = float(np.clip(12 / np.sqrt(max(len(score), 1)), 0.25, 0.9))
    if sigma is None:
        axes.plot(score, mean, "o", color=BLUE, markersize=4, alpha=alpha, markeredgewidth=0, zorder=3)
        ends = mean
    else:
        normal = calibration.gaussian_interval(mean, np.asarray(sigma, float), 0.9)
        low, high = normal if interval is None else np.asarray(interval, float).T
        inside = (low <= score) & (score <= high)
        groups = [(inside, BLUE, "o", "label inside"), (~inside, ORANGE, "s", "label outside")]
        for chosen, colour, marker, label in groups:
            count = int(chosen.sum())
            share = f"{100 * count / max(len(score), 1):.0f} %"
            axes.vlines(
                score[chosen],
                low[chosen],
                high[chosen],
                color=colour,
                linewidth=0.8,
                alpha=0.4 * alpha,
                zorder=2,
            )
            axes.plot(
                score[chosen], mean[chosen], marker, color=colour, markersize=4, alpha=alpha,
                markeredgewidth=0, zorder=3, label=f"{label} the 90 % interval: {count} ({share})",
            )  # fmt: skip
        axes.legend(loc="upper left", frameon=False, fontsize=9, handletextpad=0.2)
        # A single huge sigma must not squeeze all points into a corner.
        ends = np.concatenate([mean, *np.quantile([low, high], [0.02, 0.98], axis=1)]) if len(mean) else mean
    both = np.concatenate([score, ends])
    if both.size:
        margin = 0.05 * (np.ptp(both) or 1.0)
        limits = (both.min() - margin, both.max() + margin)
        axes.set(xlim=limits, ylim=limits)
    axes.set(xlabel=f"true score ({unit})", ylabel=f"predicted score ({unit})", aspect="equal")
    set_titles(axes, title, caption(metrics or {}))
    save(figure, path)


def training_curves(
    path: str | os.PathLike[str],
    losses: Sequence[tuple[int, float]],
    history: Sequence[Mapping[str, Any]],
    *,
    metric: str = "rho",
    selected_step: int | None = None,
    selected_by: str = "",
    title: str = "",
) -> None:
    """Draws the training loss, and a metric on validation and test, by step as a PNG.

    Args:
      path: the file.
      losses: (step, training loss) pairs; values that are not finite are left out.
      history: evaluations as in `evaluate.selection`.
      metric: the metric of the lower panel.
      selected_step: marked with a vertical line.
      selected_by: the rule that chose it.
      title: above the picture.
    """
    figure = Figure(figsize=(7, 5.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    steps, values = _finite(losses)
    # Single batches are noisy: a running mean shows the course.
    width = max(1, len(values) // 50)
    upper.plot(steps, values, color=BLUE, linewidth=0.8, alpha=0.35 if width > 1 else 1.0, label="as logged")
    if width > 1:
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        upper.plot(steps[width - 1 :], smooth, color=BLUE, linewidth=1.8, label=f"mean of {width} values")
        upper.legend(frameon=False, fontsize=9)
    upper.set(ylabel="training loss")
    for split, colour, style in (("validation", GREEN, "o-"), ("test", ORANGE, "s--")):
        points = [(entry["step"], (entry.get(split) or {}).get(metric)) for entry in history]
        x, y = _finite([(step, value) for step, value in points if value is not None])
        if len(x):
            lower.plot(x, y, style, color=colour, markersize=4, linewidth=1.5, label=split)
    name = METRIC_NAMES.get(metric, metric)
    lower.set(xlabel="step", ylabel=name)
    if selected_step is not None:
        for axes in (upper, lower):
            axes.axvline(selected_step, color=GREY, linewidth=1, linestyle=":")
        label = f"{selected_by or 'selected'}: step {selected_step}"
        lower.plot([], [], color=GREY, linewidth=1, linestyle=":", label=label)
    if lower.get_legend_handles_labels()[0]:
        lower.legend(frameon=False, fontsize=9)
    for axes in (upper, lower):
        clean(axes)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save(figure, path)


def confusions(
    path: str | os.PathLike[str], matrices: Mapping[str, tuple[np.ndarray, Sequence[str]]], title: str = ""
) -> None:
    """Draws confusion matrices side by side as a PNG: of each true class, the share of every answer.

    Args:
      path: the file.
      matrices: by name, counts or shares [classes, classes] at (truth, answer), and the classes' names.
      title: above the picture.
    """
    figure = Figure(figsize=(3.6 * len(matrices), 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = np.atleast_1d(figure.subplots(1, len(matrices)))
    for axes, (name, (matrix, classes)) in zip(panels, matrices.items(), strict=True):
        matrix = np.asarray(matrix, float)
        totals = matrix.sum(1, keepdims=True)
        shares = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*shares.shape):
            shade = "white" if shares[row, column] > 0.5 else "black"
            text = f"{100 * shares[row, column]:.0f}" if totals[row, 0] else "–"
            axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=9)
        ticks = range(len(classes))
        axes.set(xlabel=f"predicted {name}", ylabel=f"true {name}", xticks=ticks, yticks=ticks)
        axes.set_xticklabels(classes)
        axes.set_yticklabels(classes)
        right = np.trace(matrix) / max(matrix.sum(), 1e-12)
        axes.set_title(f"{name}: {100 * right:.1f} % right (entries in %)", loc="left", fontsize=9)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save(figure, path)


def paired_differences(
    path: str | os.PathLike[str], differences: Mapping[str, np.ndarray], reference: str, *, metric: str = "rho"
) -> None:
    """Draws each arm's differences [N] to the reference by seed, with mean and 95 % interval, as a PNG."""
    figure, axes = new_figure(7, 1.4 + 0.7 * len(differences))
    for k, values in enumerate(differences.values()):
        spread = np.linspace(-0.12, 0.12, len(values))
        axes.plot(values, k + 0.22 + spread, "o", color=GREY, markersize=3, alpha=0.7, markeredgewidth=0)
        found = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        excluded = found.low > 0 or found.high < 0
        colour = BLUE if excluded else ORANGE
        axes.plot([found.low, found.high], [k, k], color=colour, linewidth=2)
        axes.plot(np.mean(values), k, "o" if excluded else "s", color=colour, markersize=6)
    axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(differences)), list(differences))
    axes.set_ylim(len(differences) - 0.5, -0.5)
    axes.set_xlabel(f"{METRIC_NAMES.get(metric, metric)} less that of: {reference}")
    title = "mean and 95 % interval over seeds (blue: 0 is outside); grey: seeds"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save(figure, path)


METRIC_NAMES = {"rho": "Spearman's ρ", "tau": "Kendall's τ", "rl2": "R-ℓ2 (×100)", "l2": "ℓ2", "mae": "MAE"} | {
    "mean_accuracy": "mean of the accuracies",
}


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """A figure of so many inches, and its axes."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    clean(axes)
    return figure, axes


def clean(axes: Any) -> None:
    """Takes off what is not needed, and adds a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)


def set_titles(axes: Any, title: str, below: str) -> None:
    """A title, and a line of figures below it."""
    lines = [*textwrap.wrap(title, 70), *([below] if below else [])]
    if lines:
        axes.set_title("\n".join(lines), loc="left", fontsize=10)


def caption(metrics: Mapping[str, Any]) -> str:
    """Rho with its interval, MAE and number of videos, as far as there are such."""
    parts = []
    if metrics.get("rho") is not None:
        interval = (metrics.get("confidence") or {}).get("rho")
        parts.append(f"ρ {metrics['rho']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""))
    if metrics.get("mae") is not None:
        parts.append(f"MAE {metrics['mae']:.2f}")
    if "num_examples" in metrics:
        parts.append(f"n = {metrics['num_examples']}")
    return ", ".join(parts)


def _finite(pairs: Sequence[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(pairs, float).reshape(-1, 2)
    array = array[np.isfinite(array[:, 1])]
    return array[:, 0], array[:, 1]


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes the PNG, whole or not at all."""
    with replacing(path) as temporary:
        # No software stamp: the same run gives the same file.
        figure.savefig(temporary, format="png", metadata={"Software": None})
