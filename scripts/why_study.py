"""Do explanations find the fault? Rendered dives with one planted fault in a known place: docs/why.md.

    python scripts/why_study.py --workdir runs/why [--split test]

Trains configs/dives_faults.py (which is told scores alone), explains the dives of a split that have a planted fault,
and counts how often the segment that an answer points to contains it: at least half of its frames. Beside it: what
chance would give, two cheap controls (the segment with the most and the least motion), and the same model with random
weights. An interrupted training goes on. With ``--split validation`` every fill of occlusion and every layer of
Grad-CAM is tried as well, which is what the defaults were chosen by. Ends with a table, STUDY/why_SPLIT.json and
STUDY/why_SPLIT.png.
"""

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from scipy import stats
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from aqa_jax import compilation  # noqa: E402

compilation.prepare()
from aqa_jax import config as config_lib  # noqa: E402
from aqa_jax.data import build  # noqa: E402
from aqa_jax.errors import AqaError, DataError  # noqa: E402
from aqa_jax.evaluate.plots import GREY, ORANGE, save  # noqa: E402
from aqa_jax.evaluate.results import read_metrics  # noqa: E402
from aqa_jax.explain.explain import FILL, explain, overlay  # noqa: E402
from aqa_jax.explain.explanation import Explanation  # noqa: E402
from aqa_jax.explain.grad_cam import layer_of  # noqa: E402
from aqa_jax.explain.occlusion import Fill  # noqa: E402
from aqa_jax.explain.segments import Segments  # noqa: E402
from aqa_jax.models.i3d import ENDPOINTS  # noqa: E402
from aqa_jax.predict.scorer import RunScorer  # noqa: E402
from aqa_jax.predict.trained import Trained  # noqa: E402
from aqa_jax.predict.trust import Trust  # noqa: E402
from aqa_jax.predict.video_clips import VideoClips  # noqa: E402
from benchmarks import report  # noqa: E402

CONFIG = "configs/dives_faults.py"
LAYERS = ("Mixed_3c", "Mixed_4b", "Mixed_4f", "Mixed_5c")
SHOWN, SIDE = 4, 96  # dives in the picture, pixels of a frame

TITLES = {
    "occlusion": "occlusion, lowered most",
    "occlusion_size": "occlusion, moved most",
    "cam": "Grad-CAM",
    "contribution": "contribution (Shapley)",
    "segment_score": "score of the segment alone",
    "random_occlusion": "occlusion, random weights",
    "random_cam": "Grad-CAM, random weights",
    "most_motion": "most motion",
    "least_motion": "least motion",
}


class Dive(NamedTuple):
    """A dive with a planted fault: its clips, and the fault's kind and frames."""

    name: str
    clips: VideoClips
    difficulty: float
    score: float
    kind: str
    first: int
    last: int


def containing(frames: np.ndarray, first: int, last: int) -> np.ndarray:
    """Which segments [S] with these frames [S, T] hold at least half of the frames ``first`` to ``last``."""
    return ((frames >= first) & (frames <= last)).sum(1) >= (last - first + 1) / 2


def share(hits: np.ndarray) -> dict[str, Any]:
    """How often, with Wilson's 95 % interval."""
    found = stats.binomtest(int(hits.sum()), len(hits))
    low, high = found.proportion_ci(method="wilson")
    return {"hits": int(hits.sum()), "of": len(hits), "share": float(hits.mean()), "interval_95": [low, high]}


def train(study: Path, keys: list[str]) -> Path:
    """The run, unless it is finished."""
    workdir = study / "run"
    if not (workdir / "evaluation" / "metrics.json").exists():
        command = ["run.py", "--config", CONFIG, f"--config.data.data_dir={study / 'data'}", *keys]
        subprocess.run([sys.executable, *command, "--workdir", str(workdir)], cwd=ROOT, check=True)
    return workdir


def dives(scorer: RunScorer, split: str) -> Iterator[Dive]:
    """The dives of ``split`` with a planted fault."""
    run, table = scorer.run, scorer.run.store.table
    columns = {name: table.column(name) for name in table.names}
    rows = run.rows[split]
    rows = rows[np.isfinite(columns["planted_first"][rows].astype(float))]
    for batch in run.batches_of(split, rows):
        for video, row in zip(batch["video"][batch["mask"] > 0], batch["row"][batch["mask"] > 0], strict=True):
            clips = VideoClips(video, int(columns["num_frames"][row]), 1.0)
            first, last = (int(columns[f"planted_{end}"][row]) for end in ("first", "last"))
            difficulty, score = (float(columns[name][row]) for name in ("difficulty", "score"))
            yield Dive(columns["id"][row], clips, difficulty, score, columns["planted"][row], first, last)


def randomised(scorer: RunScorer) -> RunScorer:
    """The same model, untrained."""
    trained = Trained(
        "", scorer.trained_on, scorer.selection, {"step": np.int32(0), **scorer.run.initial_groups}, Trust()
    )
    return RunScorer(scorer.config, trained)


def pointed(found: Explanation) -> dict[str, int]:
    """The segment that each answer points to."""
    assert found.cam_of_segments is not None
    return {
        "occlusion": found.worst,
        "occlusion_size": int(np.argmax(np.abs(found.occlusion))),
        "cam": int(np.argmax(found.cam_of_segments)),
        "contribution": int(np.argmin(found.contributions)),
        "segment_score": int(np.argmin(found.segment_scores)),
    }


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation of two maps; 0 where one is flat."""
    if not np.ptp(one) or not np.ptp(other):
        return 0.0
    return float(stats.spearmanr(one.ravel(), other.ravel()).statistic)


def measure(scorer: RunScorer, split: str) -> dict[str, Any]:
    """The figures of a split, at the defaults of :func:`explain`."""
    untrained = randomised(scorer)
    hits: dict[str, list[bool]] = {name: [] for name in TITLES}
    chance: list[float] = []
    kinds: list[str] = []
    correlation: dict[str, list[float]] = {"occlusion": [], "cam": []}
    known = list(dives(scorer, split))
    if not known:
        raise DataError(f"No dive of the {split} split has a planted fault: give config.data.options planted=0.667.")
    for dive in tqdm(known, unit="dive"):
        found = explain(scorer, dive.clips, dive.difficulty)
        other = explain(untrained, dive.clips, dive.difficulty)
        right = containing(found.frames, dive.first, dive.last)
        motion = np.abs(np.diff(dive.clips.video.astype(np.float32), axis=1)).mean((1, 2, 3, 4))
        places = pointed(found)
        places |= {f"random_{name}": place for name, place in pointed(other).items() if f"random_{name}" in TITLES}
        places |= {"most_motion": int(np.argmax(motion)), "least_motion": int(np.argmin(motion))}
        for name, place in places.items():
            hits[name].append(bool(right[place]))
        chance.append(float(right.mean()))
        kinds.append(dive.kind)
        for name in correlation:
            correlation[name].append(alike(getattr(found, name), getattr(other, name)))
    return {
        "chance": float(np.mean(chance)),
        "found": {name: share(np.array(values)) for name, values in hits.items()},
        "by_kind": {
            kind: {name: share(np.array(hits[name])[np.array(kinds) == kind]) for name in ("occlusion", "cam")}
            for kind in sorted(set(kinds))
        },
        "correlation_with_random_weights": {name: float(np.mean(values)) for name, values in correlation.items()},
    }


def alternatives(scorer: RunScorer, split: str) -> dict[str, Any]:
    """Every fill, and how far from the training videos it leads; every layer."""
    last = ENDPOINTS.index(scorer.config.model.final_endpoint)
    fills, layers = get_args(Fill), [layer for layer in LAYERS if ENDPOINTS.index(layer) <= last]
    hits: dict[str, list[bool]] = {name: [] for name in (*fills, *layers)}
    distance: dict[str, list[float]] = {name: [] for name in ("as it is", *fills)}
    familiarity = scorer.trust.familiarity
    for dive in tqdm(list(dives(scorer, split)), unit="dive"):
        segments = Segments(scorer, dive.clips, dive.difficulty)
        right = containing(segments.frames, dive.first, dive.last)
        described = {"as it is": (segments.features.mean(0, keepdims=True), segments.early.mean(0, keepdims=True))}
        for fill in fills:
            described[fill] = segments.replaced(fill)
            hits[fill].append(bool(right[np.argmax(segments.scores(described[fill][0]))]))
        for layer in layers:
            hits[layer].append(bool(right[np.argmax(segments.cam(layer).mean((1, 2, 3)))]))
        if familiarity is not None:
            for name, (features, early) in described.items():
                distance[name].append(float(familiarity.distance((early, features)).mean()))
    return {
        "found": {name: share(np.array(values)) for name, values in hits.items()},
        "distance_to_training_videos": {name: float(np.mean(values)) for name, values in distance.items() if values},
        "unfamiliar_from": None if familiarity is None else float(familiarity.threshold),
    }


def draw(path: Path, scorer: RunScorer, split: str) -> None:
    """A few dives: a frame of each segment, Grad-CAM over it, and what occlusion says; the fault is framed."""
    # The first of every kind, then those that come next: nobody picks.
    known = list(dives(scorer, split))
    firsts = {dive.kind: dive for dive in reversed(known)}
    others = [dive for dive in known if dive.name != firsts[dive.kind].name]
    chosen = [*firsts.values(), *others][:SHOWN]
    figure = Figure((9.5, 1.9 * SHOWN), layout="constrained", dpi=130)
    panels = figure.subplots(SHOWN, 2, squeeze=False, width_ratios=(2.2, 1))
    for (left, right), dive in zip(panels, chosen, strict=False):
        found = explain(scorer, dive.clips, dive.difficulty)
        holds = containing(found.frames, dive.first, dive.last)
        numbers = np.arange(1, len(holds) + 1)
        # Of each segment the frame that is nearest to the fault's middle, or its own.
        middle = np.where(holds, (dive.first + dive.last) / 2, found.frames.mean(1))
        at = np.abs(found.frames - middle[:, None]).argmin(1)
        large = np.stack([[cv2.resize(frame, (SIDE, SIDE)) for frame in clip] for clip in dive.clips.video])
        drawn = overlay(dataclasses.replace(dive.clips, video=large), found)
        rows = [np.concatenate(list(some[numbers - 1, at]), 1) for some in (large, drawn)]
        left.imshow(np.concatenate(rows))
        left.set_axis_off()
        for s in np.flatnonzero(holds):
            corner = (float(s * SIDE), 0.0)
            left.add_patch(Rectangle(corner, SIDE - 1, 2 * SIDE - 1, fill=False, edgecolor=ORANGE, linewidth=2.5))
        fault = f"{dive.kind.replace('_', ' ')}, frames {dive.first} to {dive.last}"
        left.set_title(f"{fault}: score {found.score:.0f}, judges {dive.score:.0f}", fontsize=9)
        right.bar(numbers, found.occlusion, color=[ORANGE if one else GREY for one in holds])
        right.axhline(0, color="black", linewidth=0.6)
        right.set_xticks(numbers)
        right.spines[["top", "right"]].set_visible(False)
        right.tick_params(labelsize=8)
    panels[0, 1].set_title("occlusion: points that a segment adds", fontsize=9)
    save(figure, path)
    # A third of the size: it lies in docs/.
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def table(figures: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| the segment that is pointed to contains the fault | share [95 % interval] |", "|---|---|"]
    for name, found in (figures["found"] | figures.get("alternatives", {}).get("found", {})).items():
        low, high = found["interval_95"]
        lines.append(f"| {TITLES.get(name, name)} | {100 * found['share']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] |")
    lines.append(f"| chance | {100 * figures['chance']:.1f} % |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--key", action="append", default=[], help="further keys of the run, as train.steps=300")
    given = parser.parse_args(arguments)
    study = given.workdir.absolute()
    workdir = train(study, [f"--config.{key}" for key in given.key])
    scorer = RunScorer(config_lib.resolve(config_lib.read_json(workdir / "config.json")), workdir)
    build.builder_class(scorer.config.data.builder)
    figures = measure(scorer, given.split)
    if given.split == "validation":
        figures["alternatives"] = alternatives(scorer, given.split)
    draw(study / f"why_{given.split}.png", scorer, given.split)
    metrics = read_metrics(workdir / "evaluation" / "metrics.json")
    about = {
        "split": given.split, "keys": given.key, "fill": FILL,
        "layer": layer_of(scorer.config.data.crop, scorer.config.model.final_endpoint),
        "segments": scorer.input_format.window.num_clips, "step": scorer.selection.step,
        "rho_on_test": metrics["metrics"]["rho"],
    }  # fmt: skip
    report.write(study / f"why_{given.split}.json", {**about, **figures})
    print(table(figures))


if __name__ == "__main__":
    try:
        main()
    except AqaError as error:
        sys.exit(f"error: {error}")
