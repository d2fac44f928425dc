"""Pictures of an uncertainty: does it cover what it says, and is the error larger where it says so?"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import ndtri

from aqa_jax.evaluate.calibration import LEVELS, uncertainty_bins
from aqa_jax.evaluate.plots import BLUE, GREEN, GREY, ORANGE, caption, new_figure, save, set_titles

MIN_VIDEOS = 20
"""Of fewer test videos neither picture says anything."""


def reliability(
    path: str | os.PathLike[str],
    y: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    *,
    learnt_on: int = 0,
    title: str = "",
) -> None:
    """Draws observed over nominal coverage of the central intervals as a PNG.

    Lines: the normal distribution's intervals at every level, of the raw sigma and, if there is one, of the
    recalibrated one. Markers: the intervals that are reported. Grey: at each level, where 95 % of the draws of as many
    videos lie if the intervals are right; after recalibration also of as many validation videos, whose draw moves all
    of them (a beta-binomial distribution: Vovk 2012, "Conditional validity of inductive conformal predictors").

    Args:
      path: the file.
      y: float [N], labels.
      outputs: ``mean``, ``sigma`` [N] and ``intervals`` [N, L, 2], with ``raw_sigma`` [N] after recalibration.
      learnt_on: validation videos behind the recalibration; 0: there is none.
      title: above the picture.
    """
    figure, axes = new_figure(5.6, 5.6)
    y, levels = np.asarray(y, float), np.linspace(0.01, 0.99, 99)
    residual = np.abs(y - np.asarray(outputs["mean"], float))
    draws = stats.binom(len(y), levels)
    if learnt_on:
        draws = stats.betabinom(len(y), levels * (learnt_on + 1), (1 - levels) * (learnt_on + 1))
    low, high = draws.interval(0.95)
    of = f"{learnt_on} validation, {len(y)} test videos" if learnt_on else f"{len(y)} test videos"
    axes.fill_between(
        100 * levels, 100 * low / len(y), 100 * high / len(y), color="#DDDDDD", linewidth=0, zorder=1,
        label=f"right: 95 % of draws of {of}",
    )  # fmt: skip
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--", zorder=2)

    def line(sigma: np.ndarray, colour: str, style: str, label: str) -> None:
        inside = residual[None] <= ndtri(0.5 + levels[:, None] / 2) * np.asarray(sigma, float)[None]
        axes.plot(100 * levels, 100 * inside.mean(1), style, color=colour, linewidth=1.6, label=label, zorder=3)

    recalibrated = "raw_sigma" in outputs
    line(outputs["raw_sigma" if recalibrated else "sigma"], ORANGE, "-.", "raw σ")
    if recalibrated:
        line(outputs["sigma"], BLUE, "-", "σ after recalibration")
    limits = np.asarray(outputs["intervals"], float)
    covered = ((limits[..., 0] <= y[:, None]) & (y[:, None] <= limits[..., 1])).mean(0)
    axes.plot(
        LEVELS, 100 * covered, "s", color=GREEN, markersize=7, markeredgecolor="white", zorder=4,
        label="reported intervals" + (" (conformal)" if recalibrated else " (raw)"),
    )  # fmt: skip
    axes.set(
        xlabel="nominal coverage (%)", ylabel="observed coverage (%)", xlim=(0, 100), ylim=(0, 101), aspect="equal"
    )
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    nominal, observed = (" / ".join(f"{value:.{k}f}" for value in v) for k, v in ((0, LEVELS), (1, 100 * covered)))
    set_titles(axes, title, f"intervals of {nominal} % hold {observed} %")
    save(figure, path)


def error_by_uncertainty(
    path: str | os.PathLike[str], error: np.ndarray, sigma: np.ndarray, *, figures: Mapping[str, Any] | None = None,
    title: str = "",
) -> None:  # fmt: skip
    """Draws the mean absolute error of ten equal bins by sigma over their mean sigma as a PNG.

    The dashed line is a normal distribution's mean absolute error, sqrt(2 / pi) sigma. Bars: 95 % of the mean.

    Args:
      path: the file.
      error: float [N], label less predicted score.
      sigma: float [N], as reported.
      figures: what `score_metrics` returned, for the caption.
      title: above the picture.
    """
    figure, axes = new_figure(5.6, 4.6)
    error, sigma = np.abs(np.asarray(error, float)), np.asarray(sigma, float)
    bins = uncertainty_bins(sigma)
    x = np.array([sigma[part].mean() for part in bins])
    y = np.array([error[part].mean() for part in bins])
    sizes = sorted({len(part) for part in bins})
    half = 1.96 * np.array([error[part].std(ddof=1) / np.sqrt(len(part)) for part in bins])
    span = np.array([min(x.min(), sigma.min()), max(x.max(), np.quantile(sigma, 0.99))])
    axes.plot(span, np.sqrt(2 / np.pi) * span, color=GREY, linewidth=1, linestyle="--", label="expected: .80 σ")
    axes.plot(sigma, error, "o", color=BLUE, markersize=3, alpha=0.15, markeredgewidth=0, zorder=2)
    axes.errorbar(
        x, y, half, fmt="o", color=BLUE, markersize=6, capsize=2, linewidth=1.2, zorder=3,
        label=f"ten bins by σ: means of {' or '.join(map(str, sizes))} videos",
    )  # fmt: skip
    margin = 0.05 * (np.ptp(span) or 1.0)
    axes.set(
        xlabel="σ (score points)", ylabel="absolute error (score points)", xlim=(span[0] - margin, span[1] + margin),
        ylim=(0, 1.1 * max((y + half).max(), np.quantile(error, 0.95)) or 1.0),
    )  # fmt: skip
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    tau = (figures or {}).get("uncertainty_tau")
    ordered = f"τ of bin and error {tau:.2f}" if tau is not None else "τ of bin and error undefined"
    set_titles(axes, title, ", ".join([ordered, *([caption(figures)] if figures else [])]))
    save(figure, path)
