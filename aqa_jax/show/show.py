"""Everything that ``--mode show`` prints and writes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aqa_jax.files import write_json
from aqa_jax.predict.playable import write_playable
from aqa_jax.show import sheets
from aqa_jax.show.facts import facts_of, splits_of, table_of
from aqa_jax.show.seen import Seen, seen_in_evaluation, seen_in_training
from aqa_jax.train.run import Run

SCHEMA = "aqa_jax.show/1"
_VIDEOS = 24  # of a split, on the contact sheet
_EXAMPLES = 4
_TILE = 112  # pixels, of a frame's short side
_FPS = 8.0


def show(run: Run, output: Path) -> Iterator[str]:
    """Writes show.json, videos.png, scores.png and, for training and test (if any), clips_*.png and clips_*.mp4.

    Args:
      run: builds its dataset if need be.
      output: the folder; made if it is not there.

    Yields:
      Lines to print, each when what it says is done.

    Raises:
      DataError: videos are too short for the config's clips; the pictures that need no clips are there by then.
    """
    output.mkdir(parents=True, exist_ok=True)
    config, store = run.config, run.store
    run.rows = run.rows_if_any()
    height, width = store.frame_size
    splits = splits_of(run)
    facts = {name: facts_of(store.table, rows) for name, rows in splits.items()}
    yield f"{config.data.builder}: {store.directory}"
    yield table_of(facts)
    clips = "1 clip" if run.window.num_clips == 1 else f"{run.window.num_clips} clips"
    seen = f"{clips} of {run.window.clip_length} frames, {config.data.crop}x{config.data.crop}"
    yield f"(lowest · median · highest) frames stored at {width}x{height}; the model sees {seen}"
    if not len(run.rows["test"]):
        yield "There is no test split: a training needs config.data.test_where, or --mode crossval, which has folds."
    write_json(
        output / "show.json",
        {"schema": SCHEMA, "dataset": str(store.directory), "frame_size": [height, width], "splits": facts},
    )
    for split, rows in splits.items():
        path = output / f"videos_{split.replace(', ', '_').replace(' ', '_')}.png"
        chosen = _spread(run, rows)
        title = f"{split}: {len(chosen)} of {len(rows)} videos, middle frames; pale: outside the central crop"
        sheets.contact_sheet(path, [_tile(run, split, row) for row in chosen], title=title)
        yield f"{path}"
    scores = {name: store.table.column("score")[rows].astype(float) for name, rows in splits.items()}
    scores = {name: values[np.isfinite(values)] for name, values in scores.items()}
    if labelled := {name: values for name, values in scores.items() if len(values)}:
        sheets.score_histograms(output / "scores.png", labelled, title=f"{config.data.builder}: scores by split")
        yield f"{output / 'scores.png'}"
    yield from _clips(
        output, "train", seen_in_training(run, _EXAMPLES), "as training draws them, augmentation included"
    )
    if len(run.rows["test"]):
        yield from _clips(output, "test", seen_in_evaluation(run, "test", _EXAMPLES), "as an evaluation sees them")


def _clips(output: Path, name: str, examples: list[Seen], what: str) -> Iterator[str]:
    clips, length = examples[0].clips.shape[:2]
    title = f"{name}: {clips} clip{'s' * (clips > 1)} of {length} frames, {what}"
    if examples[0].marked.any():
        title += "; orange: the segment at another pace"
    path = output / f"clips_{name}.png"
    sheets.clip_sheet(path, examples, title=title)
    yield f"{path}"
    path = output / f"clips_{name}.mp4"
    write_playable(path, sheets.clip_frames(examples, title=title), _FPS)
    yield f"{path}"


def _spread(run: Run, rows: np.ndarray) -> np.ndarray:
    """Up to 24 rows, from the lowest score to the highest; unlabelled ones as they come."""
    ordered = rows[np.argsort(run.store.table.column("score")[rows].astype(float), kind="stable")]
    return ordered[np.unique(np.linspace(0, len(ordered) - 1, _VIDEOS).astype(int))]


def _tile(run: Run, split: str, row: int) -> sheets.Tile:
    table, size = run.store.table, run.store.frame_size
    frame = run.store.read(row, np.array([int(table.column("num_frames")[row]) // 2]))[0]
    scale = _TILE / min(size)
    picture = sheets.larger(
        sheets.with_crop(frame, run.config.data.crop), (round(size[0] * scale), round(size[1] * scale))
    )
    score = float(table.column("score")[row])
    words = f"{score:g}" if np.isfinite(score) else "unlabelled"
    colour = sheets.COLOURS.get(split, sheets.GREY)
    return sheets.Tile(picture, (str(table.column("id")[row]), words), colour)
