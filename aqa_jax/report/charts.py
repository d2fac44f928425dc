"""The small charts of a video's report. Drawn narrow, so that their text is readable on a phone."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from aqa_jax.evaluate.plots import BLUE, GREEN, GREY, ORANGE, new_figure
from aqa_jax.report.images import chart

_WIDTH = 4.4


def distribution(row: Mapping[str, Any], training_scores: Sequence[float] | None) -> str:
    """The score and its 50 % and 90 % intervals, over the histogram of the training scores if these are known."""
    figure, axes = new_figure(_WIDTH, 2.5)
    top = 1.0
    if training_scores is not None and len(training_scores):
        counts, _, _ = axes.hist(training_scores, bins="auto", color="#C9CDD2", label="training videos")
        top = float(counts.max())
        axes.set_ylabel("training videos")
    else:
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
    # Below the histogram, so that they hide nothing of it.
    for level, height, width in ((90, -0.10, 3), (50, -0.10, 8)):
        axes.hlines(height * top, row[f"low{level}"], row[f"high{level}"], color=BLUE, linewidth=width,
                    alpha=0.55 if level == 90 else 1.0, label=f"{level} % interval")  # fmt: skip
    axes.axvline(row["score"], color=ORANGE, linewidth=2, label="this video")
    axes.set_ylim(-0.2 * top, 1.1 * top)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= top])
    axes.set_xlabel("score (points)")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    return chart(figure)


def curve(scores: np.ndarray, score: float) -> str:
    """The score that each segment [S] would get alone, and the video's."""
    figure, axes = new_figure(_WIDTH, 2.5)
    numbers = np.arange(1, len(scores) + 1)
    axes.axhline(score, color=ORANGE, linewidth=1.5, linestyle="--", label="the whole video")
    axes.plot(numbers, scores, "o-", color=BLUE, markersize=5, linewidth=1.6, label="the segment alone")
    axes.set(xlabel="segment", ylabel="score (points)", xticks=numbers)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    return chart(figure)


def bars(values: np.ndarray, label: str, *, least: float = 0.0) -> str:
    """A signed bar a segment [S], in points: green above zero, orange and hatched below.

    The axis reaches to ``least`` points at the least, so that what is small looks small.
    """
    figure, axes = new_figure(_WIDTH, 2.3)
    numbers = np.arange(1, len(values) + 1)
    drawn = axes.bar(numbers, values, color=[GREEN if v >= 0 else ORANGE for v in values], width=0.7)
    for bar, item in zip(drawn, values, strict=True):
        if item < 0:
            bar.set(hatch="///", edgecolor="white", linewidth=0)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set(xlabel="segment", ylabel=label, xticks=numbers)
    if np.abs(values).max() < least:
        axes.set_ylim(-least, least)
    return chart(figure)


def intervals(
    rows: Sequence[tuple[str, float | None, Sequence[float] | None]], label: str, *, zero: bool = False
) -> str:
    """A point and its interval a row (name, value, [low, high]); with ``zero`` a line at 0, outside which is blue."""
    figure, axes = new_figure(_WIDTH, 0.9 + 0.35 * len(rows))
    for place, (_, value, interval) in enumerate(rows):
        if value is None:
            continue
        sure = not zero or (interval is not None and (interval[0] > 0 or interval[1] < 0))
        colour = BLUE if sure else GREY
        if interval is not None:
            axes.hlines(place, *interval, color=colour, linewidth=2)
        axes.plot(value, place, "o" if sure else "s", color=colour, markersize=6)
    if zero:
        axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(rows)), [textwrap.shorten(name, 24, placeholder="…") for name, *_ in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return chart(figure)
