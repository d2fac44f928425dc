"""MTL-AQA: 1412 dives of 15 competitions with the seven judges' scores and the degree of difficulty."""

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds

from aqa_jax.check.findings import Finding, Video
from aqa_jax.data.builder import VideoBuilderConfig, VideoDatasetBuilder
from aqa_jax.data.checksums import Checksums
from aqa_jax.data.encode import Renderer

from . import annotations, check, frames, render


@dataclasses.dataclass(eq=False)
class MtlAqaConfig(VideoBuilderConfig):
    """Options.

    Attributes:
      layout: auto, dives (one folder of frames a dive) or videos (one a whole video).
      frames_dir: folder of the frames below the raw data; empty: looked for.
      annotation_file: annotation file below the raw data; empty: the richest that is found.
      require_judges: refuse annotations without judge scores.
      exclude: ids of dives to leave out.
      window: frames of the published window.
      margin: further frames to keep for the temporal shift of training.
    """

    layout: str = "auto"
    frames_dir: str = ""
    annotation_file: str = ""
    require_judges: bool = False
    exclude: list[str] = dataclasses.field(default_factory=list)
    window: int = annotations.WINDOW
    margin: int = 6


class Builder(VideoDatasetBuilder):
    """See README.md for the files it reads."""

    VERSION = tfds.core.Version("1.0.0")
    SCORE_RANGE = annotations.SCORE_RANGE
    JUDGE_RULE = "middle3_times_difficulty"
    GROUPS_APART = False  # a group is a competition, and the published split has all of them on both sides
    BUILDER_CONFIGS: Sequence[MtlAqaConfig] = [MtlAqaConfig(name="default")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Give the folder that holds an annotation file with its split lists (for instance in info/) and the "
        "frames (frames/, frames_long/ or new_total_frames_256s/); data_builders/mtl_aqa/README.md says more."
    )

    @functools.cached_property
    def labels(self) -> annotations.Annotations:
        """The checked annotations; what was found wrong with them is printed once."""
        config = self.builder_config
        found = annotations.load(
            self.raw_dir,
            file=config.annotation_file,
            exclude=config.exclude,
            require_judges=config.require_judges,
        )
        print(report(found), file=sys.stderr)
        return found

    @functools.cached_property
    def windows(self) -> dict[annotations.Key, frames.Window]:
        """The stored window of every dive."""
        config = self.builder_config
        folder, layout = frames.find(self.raw_dir, config.layout, config.frames_dir)
        return frames.windows(folder, layout, self.labels.dives, window=config.window, margin=config.margin)

    def video_specs(self, split: str) -> Sequence[render.Dive]:
        """One dive each, in the order of the published list."""
        size = (self.builder_config.height, self.builder_config.width)
        recorded = Checksums(self.raw_dir)
        return [
            render.Dive(
                table_row(key, self.labels.dives[key], self.windows[key].eval_start),
                window := self.windows[key],
                size,
                recorded.of_source(window.folder, window.names),
            )
            for key in self.labels.splits[split]
        ]

    def renderer(self) -> Renderer:
        """Reads and resizes a dive's images."""
        return render.render

    def raw_videos(self, found: list[Finding]) -> list[Video]:
        """Every dive of the raw data, for --mode check."""
        config = self.builder_config
        return check.raw_videos(
            self.raw_dir, found, file=config.annotation_file, layout=config.layout, frames_dir=config.frames_dir,
            window=config.window, margin=config.margin, exclude=config.exclude, require_judges=config.require_judges,
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Score range, the judges' rule, and the traps that were found."""
        return {
            "score_range": list(self.SCORE_RANGE),
            "judge_rule": self.JUDGE_RULE,
            "annotation_file": self.labels.file.name,
            "traps": self.labels.traps,
        }


def table_row(key: annotations.Key, dive: dict[str, Any], eval_start: int) -> dict[str, Any]:
    """Row of the video table. Athletes are not annotated: the group is the competition."""
    return {
        "id": annotations.dive_id(key),
        "group": f"{key[0]:02d}",
        "score": float(dive["final_score"]),
        "difficulty": float(dive["difficulty"]),
        "judges": dive["judge_scores"],
        "eval_start": eval_start,
        "dive_number": str(dive.get("dive_number", "")),
        **{name: int(dive[name]) for name in ("position", "armstand", "rotation_type", "ss_no", "tw_no")},
        **{name: int(dive[name]) for name in ("start_frame", "end_frame")},
    }


def report(found: annotations.Annotations) -> str:
    """What to know about the annotations, in a few lines."""
    traps = found.traps
    lines = [f"MTL-AQA: {found.file.name}: " + ", ".join(f"{len(keys)} {name}" for name, keys in found.splits.items())]
    for fix in traps["corrected_judges"]:
        lines.append(f"  corrected: {fix['id']}, judge {fix['judge']}: {fix['from']} -> {fix['to']}")
    wrong = traps["inconsistent_scores"]
    if wrong:
        in_test = sum(dive["split"] == "test" for dive in wrong)
        listed = ", ".join(f"{dive['id']} ({dive['score']:g}, judges give {dive['from_judges']:g})" for dive in wrong)
        lines.append(f"  kept, though the judges give another score: {len(wrong)} ({in_test} test): {listed}")
    if traps["zero_scores"]:
        lines.append(f"  score 0: {', '.join(traps['zero_scores'])}")
    lines.append(f"  annotated shorter than {annotations.WINDOW} frames: {traps['annotated_shorter_than_window']}")
    if traps["annotated_but_in_no_split"]:
        lines.append(f"  annotated but in neither split: {', '.join(traps['annotated_but_in_no_split'])}")
    if traps["excluded"]:
        lines.append(f"  excluded: {', '.join(traps['excluded'])}")
    return "\n".join(lines)
