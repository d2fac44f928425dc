"""Sheets of frames with words on them, and histograms of scores, as PNG; clips as a video."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aqa_jax.data.decode import cv2, resize
from aqa_jax.evaluate.plots import BLUE, GREEN, GREY, ORANGE, clean, save
from aqa_jax.files import replacing
from aqa_jax.show.seen import Seen

COLOURS = {"train": BLUE, "validation": GREEN, "test": ORANGE, "unlabelled": GREY}
_DPI = 100
_TEXT = 22  # height of a line of words, pixels
_SMALL = 14  # the same below a tile
_GAP = 4
_MARK = (213, 94, 0)  # orange
_FRAMES = 16  # of a clip, side by side
_ROUNDS = 3
_CLASSES = 12


@dataclass(frozen=True)
class Tile:
    """A picture and the words below it: uint8 RGB [h, w, 3], any size."""

    picture: np.ndarray
    words: tuple[str, ...]
    colour: str = GREY


def contact_sheet(path: str | os.PathLike[str], tiles: Sequence[Tile], *, title: str, columns: int = 8) -> None:
    """Writes the tiles, all of one size, in rows, with a title above."""
    height, width = tiles[0].picture.shape[:2]
    lines = max(len(tile.words) for tile in tiles)
    columns = min(columns, max(len(tiles), 5))  # wide enough for the title
    rows = -(-len(tiles) // columns)
    step_y, step_x = height + lines * _SMALL + 4 * _GAP, width + 2 * _GAP
    canvas = np.full((_TEXT * 2 + rows * step_y, columns * step_x, 3), 255, np.uint8)
    words = [(_GAP, _TEXT, title, "black", 11.0)]
    room = int(width / 6.2)
    for k, tile in enumerate(tiles):
        row, column = divmod(k, columns)
        top, left = 2 * _TEXT + row * step_y, column * step_x + _GAP
        colour = np.array([int(tile.colour[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
        canvas[top - 2 : top + height + 2, left - 2 : left + width + 2] = colour
        canvas[top : top + height, left : left + width] = tile.picture
        for line, text in enumerate(tile.words):
            at = top + height + _GAP + (line + 0.5) * _SMALL
            words.append((left, at, shortened(text, room), "black", 7.5))
    _write(path, canvas, words)


def clip_sheet(path: str | os.PathLike[str], examples: Sequence[Seen], *, title: str) -> None:
    """Writes a row a clip, of up to 16 frames; frames of a segment at another pace stand in an orange frame."""
    clips, length, side, width = examples[0].clips.shape[:4]
    shown = np.unique(np.linspace(0, length - 1, min(length, 2 * _FRAMES if clips == 1 else _FRAMES)).astype(int))
    lines = np.array_split(shown, 2) if clips == 1 and len(shown) > _FRAMES else [shown]
    scale = max(1, round(72 / max(side, width))) if max(side, width) < 112 else 112 / max(side, width)
    size = round(side * scale), round(width * scale)
    step_x, step_y = size[1] + _GAP, size[0] + _GAP
    block = _TEXT + clips * len(lines) * step_y + 2 * _GAP
    canvas = np.full((2 * _TEXT + len(examples) * block, max(map(len, lines)) * step_x + 2 * _GAP, 3), 255, np.uint8)
    words = [(_GAP, _TEXT, title, "black", 11.0)]
    for k, example in enumerate(examples):
        top = 2 * _TEXT + k * block
        words.append(
            (_GAP, top + _TEXT / 2, shortened(f"{example.id}   {example.facts}", canvas.shape[1] // 7), "black", 9)
        )
        top += _TEXT
        for clip in range(clips):
            for line in lines:
                for column, frame in enumerate(line):
                    picture = larger(example.clips[clip, frame], size)
                    left = _GAP + column * step_x
                    if example.marked[frame]:
                        canvas[top - 2 : top + size[0] + 2, left - 2 : left + size[1] + 2] = _MARK
                    canvas[top : top + size[0], left : left + size[1]] = picture
                top += step_y
    _write(path, canvas, words)


def clip_frames(examples: Sequence[Seen], *, title: str) -> Iterator[np.ndarray]:
    """Yields uint8 RGB frames of a video: all examples' clips side by side, a row an example, played three times."""
    clips, length, side, width = examples[0].clips.shape[:4]
    columns = min(clips, 10)
    scale = max(1, round(96 / max(side, width))) if max(side, width) < 96 else min(1.0, 960 / (columns * width))
    size = round(side * scale), round(width * scale)
    block, step_x = _TEXT + -(-clips // columns) * (size[0] + _GAP), size[1] + _GAP
    height, across = _even(2 * _TEXT + len(examples) * block), _even(max(columns * step_x + 2 * _GAP, 760))
    canvas = np.full((height, across, 3), 255, np.uint8)
    words = [(_GAP, _TEXT, title, "black", 9.0)]
    for k, example in enumerate(examples):
        text = shortened(f"{example.id}   {example.facts}", across // 7)
        words.append((_GAP, 2 * _TEXT + k * block + _TEXT / 2, text, "black", 9))
    empty = _drawn(canvas, words)
    for frame in list(range(length)) * _ROUNDS:
        picture = empty.copy()
        for k, example in enumerate(examples):
            for clip in range(clips):
                row, column = divmod(clip, columns)
                top = 2 * _TEXT + k * block + _TEXT + row * (size[0] + _GAP)
                left = _GAP + column * step_x
                if example.marked[frame]:
                    picture[top - 2 : top + size[0] + 2, left - 2 : left + size[1] + 2] = _MARK
                picture[top : top + size[0], left : left + size[1]] = larger(example.clips[clip, frame], size)
        yield picture


def score_histograms(path: str | os.PathLike[str], scores: Mapping[str, np.ndarray], *, title: str) -> None:
    """Writes a histogram of the scores a split [N], one below the other, on one axis of scores."""
    figure = Figure(figsize=(7, 1.0 + 1.5 * len(scores)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = np.atleast_1d(figure.subplots(len(scores), 1, sharex=True))
    edges = bin_edges(np.concatenate(list(scores.values())))
    for axes, (split, some) in zip(panels, scores.items(), strict=True):
        axes.hist(some, edges, color=COLOURS.get(split, GREY), rwidth=0.92)
        axes.axvline(np.median(some), color="black", linewidth=1, linestyle="--")
        axes.set_ylabel("videos")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_title(
            f"{split}: {len(some)} videos, {some.min():g} to {some.max():g}, median {np.median(some):g} (dashed)",
            loc="left", fontsize=9,
        )  # fmt: skip
        clean(axes)
    panels[-1].set_xlabel("score")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save(figure, path)


def bin_edges(scores: np.ndarray) -> np.ndarray:
    """Edges of a histogram's bins: a bin a value where scores [N] are a few classes, else 10 to 30 equal ones."""
    distinct = np.unique(scores)
    step = float(np.diff(distinct).min()) if len(distinct) > 1 else 1.0
    # A few real numbers are no classes: two that nearly agree would ask for thousands of bins.
    if len(distinct) <= _CLASSES and np.ptp(distinct) < 2 * _CLASSES * step:
        return np.arange(distinct[0] - step / 2, distinct[-1] + step, step)
    return np.histogram_bin_edges(scores, min(30, max(10, len(scores) // 8)))


def with_crop(frame: np.ndarray, crop: int) -> np.ndarray:
    """The frame with the central square of `crop` pixels as it is and its surroundings paler."""
    top, left = (frame.shape[0] - crop) // 2, (frame.shape[1] - crop) // 2
    pale = (frame // 2 + 127).astype(np.uint8)
    pale[top : top + crop, left : left + crop] = frame[top : top + crop, left : left + crop]
    return pale


def larger(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h, w, 3] at another size; single pixels stay visible when it grows."""
    if size[0] > picture.shape[0]:
        return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_NEAREST)
    return resize(np.ascontiguousarray(picture), size)


def shortened(text: str, room: int) -> str:
    """`text`, or its beginning and end around an ellipsis, in `room` letters."""
    if len(text) <= room:
        return text
    end = max(room * 2 // 3, 1)
    return f"{text[: max(room - end - 1, 0)]}…{text[-end:]}"


def _even(number: int) -> int:
    return number + number % 2


def _drawn(canvas: np.ndarray, words: Sequence[tuple[float, float, str, str, float]]) -> np.ndarray:
    """The canvas with words on it: (left, middle, text, colour, points)."""
    figure = Figure(figsize=(canvas.shape[1] / _DPI, canvas.shape[0] / _DPI), dpi=_DPI)
    agg = FigureCanvasAgg(figure)
    figure.figimage(canvas)
    for left, middle, text, colour, points in words:
        at = (left / canvas.shape[1], 1 - middle / canvas.shape[0])
        figure.text(*at, text, color=colour, fontsize=points, va="center", parse_math=False)
    agg.draw()
    return np.asarray(agg.buffer_rgba())[: canvas.shape[0], : canvas.shape[1], :3].copy()


def _write(
    path: str | os.PathLike[str], canvas: np.ndarray, words: Sequence[tuple[float, float, str, str, float]]
) -> None:
    picture = _drawn(canvas, words)
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())
