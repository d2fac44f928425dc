"""Pictures of one video's score: among the training scores, and over its segments. Needs no display."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from aqa_jax.evaluate.plots import BLUE, GREEN, GREY, ORANGE, clean, new_figure, save

_LIGHT = "#D9D9D9"
_PANEL_HEIGHT = 190
_LINE = 20
_DPI = 100


def warnings_of(row: Mapping[str, Any]) -> str:
    """What must stand beside the score, in a line; empty: nothing."""
    found = []
    if row.get("unfamiliar"):
        found.append("unlike the training videos: do not trust it")
    if row.get("out_of_training_range"):
        found.append("outside the training scores")
    if row.get("damage"):
        found.append("the file is damaged")
    return "; ".join(found)


def distribution(path: str | os.PathLike[str], row: Mapping[str, Any], training_scores: Sequence[float] | None) -> None:
    """Draws a video's score and its intervals over the training videos' scores, as a PNG.

    Args:
      path: the file.
      row: of the video in scores.json.
      training_scores: of the training videos, score points; None: they are not known.
    """
    figure, axes = new_figure(6.4, 3.9)
    score, mean, sigma = row["score"], row["mean"], row["sigma"]
    x = np.linspace(mean - 4 * sigma, mean + 4 * sigma, 200)
    density = stats.norm.pdf(x, mean, sigma)
    below = ""
    if training_scores:
        known = np.asarray(training_scores, float)
        count = int(np.clip(np.sqrt(len(known)), 8, 30))
        heights, edges = np.histogram(known, count, density=True)
        axes.stairs(heights, edges, fill=True, color=_LIGHT, label=f"{len(known):,} training videos")
        below = f"higher than {100 * np.mean(known < score):.0f} % of the training videos"
        density = density * min(1.0, 1.6 * heights.max() / density.max())
    top = max(axes.get_ylim()[1], 1.1 * density.max())
    axes.fill_between(x, density, color=BLUE, alpha=0.25, linewidth=0)
    axes.plot(x, density, color=BLUE, linewidth=1.5, label="this video")
    axes.plot([score] * 2, [0, top], color=BLUE, linewidth=1.5)
    for level, width, alpha in ((90, 3, 0.6), (50, 8, 1.0)):
        low, high = row[f"low{level}"], row[f"high{level}"]
        axes.plot(
            [low, high], [-0.06 * top] * 2, color=BLUE, linewidth=width, solid_capstyle="butt", alpha=alpha,
            label=f"{level} %: {low:.1f} to {high:.1f}",
        )  # fmt: skip
    axes.set(xlabel="score (points)", ylim=(-0.13 * top, 1.12 * top), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.grid(False)
    axes.annotate(
        f"{score:.1f}", (score, top), (0, 3), textcoords="offset points", ha="center", va="bottom", color=BLUE,
        fontsize=12, fontweight="bold",
    )  # fmt: skip
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8, handlelength=1.6, columnspacing=1.4)
    axes.set_title(f"{score:.1f} ± {sigma:.1f} points" + (f": {below}" if below else ""), loc="left", fontsize=11)
    if told := warnings_of(row):
        axes.text(0.0, 1.12, told, transform=axes.transAxes, color=ORANGE, fontsize=9, ha="left", va="bottom")
    save(figure, path)


@dataclass(frozen=True)
class Panel:
    """A picture that stands below a video's frames.

    Attributes:
      image: uint8 RGB [H, W, 3], both even.
      first: x of the video's first frame, pixels.
      last: x of its last one.
      top: y of the curve's upper end, pixels.
      bottom: y of its lower end.
    """

    image: np.ndarray
    first: float
    last: float
    top: int
    bottom: int


def panel(
    row: Mapping[str, Any],
    segment_scores: np.ndarray,
    frames: np.ndarray,
    best: int | None,
    worst: int | None,
    width: int,
) -> Panel:
    """Draws the score, and each segment's over time.

    Args:
      row: of the video in scores.json.
      segment_scores: float [S], score points.
      frames: int64 [S, T], the segments' frame numbers in the file.
      best: the segment that raises the score most; None: none does.
      worst: the segment that lowers it most; None: none does.
      width: of the picture, pixels, even.
    """
    told = warnings_of(row)
    height = _PANEL_HEIGHT + (_LINE if told else 0)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    left, below, above = 54, 40, 54 + (height - _PANEL_HEIGHT)
    axes = figure.add_axes((left / width, below / height, 1 - (left + 14) / width, 1 - (below + above) / height))
    clean(axes)
    scale = 1 / row["fps"] if row["fps"] else 1.0
    start, end = frames.min(1) * scale, frames.max(1) * scale
    middle = (start + end) / 2
    axes.axhspan(row["low50"], row["high50"], color="#F0F0F0", linewidth=0, zorder=0)
    axes.axhline(row["score"], color=GREY, linewidth=1, linestyle="--")
    axes.hlines(segment_scores, start, end, color=BLUE, linewidth=5, alpha=0.3)
    axes.plot(middle, segment_scores, "o-", color=BLUE, linewidth=1.5, markersize=4)
    for marked, shape, colour in ((best, "^", GREEN), (worst, "v", ORANGE)):
        if marked is not None:
            axes.plot(middle[marked], segment_scores[marked], shape, color=colour, markersize=9)
    # What is small beside the uncertainty must look small.
    low, high = min(segment_scores.min(), row["low50"]), max(segment_scores.max(), row["high50"])
    margin = 0.12 * (high - low) or 1.0
    last = max(row["frames"] - 1, 1) * scale
    axes.set(xlim=(0, last), ylim=(low - margin, high + margin))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(8 if width > 500 else 6))
    axes.tick_params(labelsize=8)
    figure.text(
        12 / width, (height - above + below) / 2 / height, "points", fontsize=8, rotation=90, va="center", ha="center"
    )
    axes.set_xlabel("seconds" if row["fps"] else "frame", fontsize=8, labelpad=1)

    def write(x: float, line: float, text: str, **style: Any) -> float:
        drawn = figure.text(x / width, 1 - line / height, text, va="center", **style)
        return drawn.get_window_extent(canvas.get_renderer()).x1

    x = write(12, 18, f"{row['score']:.1f}", fontsize=15, fontweight="bold")
    x = write(x + 8, 18, f"± {row['sigma']:.1f} points", fontsize=10)
    write(x + 24, 18, f"90 %: {row['low90']:.1f} to {row['high90']:.1f}", fontsize=10)
    x = write(12, 42, "each segment alone", fontsize=8, color="#444444")
    what = " the score most" if width > 500 else " most"
    if best is not None:
        x = write(x + 16, 42, f"▲ raises{what}", fontsize=8, color=GREEN)
    if worst is not None:
        write(x + 16, 42, f"▼ lowers{what}", fontsize=8, color=ORANGE)
    if told:
        write(12, 42 + _LINE, told, fontsize=8, color=ORANGE, fontweight="bold")
    canvas.draw()
    ends = axes.transData.transform([(0, low - margin), (last, high + margin)])
    image = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    return Panel(image, float(ends[0, 0]), float(ends[1, 0]), *(round(len(image) - y) for y in ends[::-1, 1]))


def key_frames(
    path: str | os.PathLike[str], pictures: np.ndarray, title: str, subtitle: str, words: Sequence[str]
) -> None:
    """Draws upright frames side by side under a title, each with its words below, as a JPEG.

    Args:
      path: the file.
      pictures: uint8 RGB [N, H, W, 3].
      title: above, in bold.
      subtitle: under it.
      words: N of them.
    """
    count, height, width = pictures.shape[:3]
    gap, above, below = 6, 48, 24
    size = (count * width + (count + 1) * gap, height + above + below)
    figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(gap / size[0], 1 - 15 / size[1], title, fontsize=11, fontweight="bold", va="center")
    figure.text(gap / size[0], 1 - 35 / size[1], subtitle, fontsize=9, va="center")
    for i, picture in enumerate(pictures):
        x = gap + i * (width + gap)
        axes = figure.add_axes((x / size[0], below / size[1], width / size[0], height / size[1]))
        axes.imshow(picture, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        figure.text((x + width / 2) / size[0], below / 2 / size[1], words[i], fontsize=9, ha="center", va="center")
    _save_jpeg(figure, path)


def _save_jpeg(figure: Figure, path: str | os.PathLike[str]) -> None:
    from aqa_jax.files import replacing

    with replacing(path) as temporary:
        figure.savefig(temporary, format="jpeg", pil_kwargs={"quality": 88})
