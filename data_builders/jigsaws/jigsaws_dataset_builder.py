"""JIGSAWS: 103 trials of three surgical tasks on a bench-top model, eight surgeons, rated on six items of 1-5."""

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

from . import annotations, check, gestures, render, videos


@dataclasses.dataclass(eq=False)
class JigsawsConfig(VideoBuilderConfig):
    """Options.

    Attributes:
      height: stored frame height in pixels.
      width: stored frame width in pixels; the videos are 4:3.
      task: Suturing, Needle_Passing, Knot_Tying or all.
      capture: 1 (left view, as MUSDL) or 2.
      layout: auto, videos (the release's avi files) or frames (MUSDL's folders of images).
      info_dir: folder of label.pkl and splits.pkl below the raw data; empty: looked for.
      frames_dir: folder of the folders of images below the raw data; empty: looked for.
      exclude: ids of trials to leave out.
    """

    width: int = 341
    task: str = "all"
    capture: int = 1
    layout: str = "auto"
    info_dir: str = ""
    frames_dir: str = ""
    exclude: list[str] = dataclasses.field(default_factory=list)


class Builder(VideoDatasetBuilder):
    """See README.md for the files it reads. One split: folds, trials and surgeons are columns."""

    VERSION = tfds.core.Version("1.1.0")
    SPLITS = ("train",)
    SCORE_RANGE = (6.0, 30.0)
    JUDGE_RULE = "sum"
    BUILDER_CONFIGS: Sequence[JigsawsConfig] = [
        JigsawsConfig(name=task, task=task) for task in ("all", *annotations.TASKS)
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Give the folder of the release (Suturing/video/, Suturing/meta_file_Suturing.txt, ...) or of MUSDL's "
        "preparation (info/label.pkl, frames/); data_builders/jigsaws/README.md says more."
    )

    @functools.cached_property
    def labels(self) -> annotations.Annotations:
        """The checked annotations."""
        config = self.builder_config
        tasks = annotations.tasks_of(config.task)
        return annotations.load(self.raw_dir, tasks, info_dir=config.info_dir, exclude=config.exclude)

    @functools.cached_property
    def sources(self) -> tuple[dict[str, videos.Source], list[str]]:
        """Where every trial's frames are, by id, and the videos without a label; what to know is printed once."""
        config = self.builder_config
        found = videos.find(
            self.raw_dir, self.labels.trials, annotations.tasks_of(config.task), capture=config.capture,
            layout=config.layout, frames_dir=config.frames_dir, left_out=config.exclude,
        )  # fmt: skip
        print(report(self.labels, found[1], self.transcriptions), file=sys.stderr)
        return found

    @functools.cached_property
    def transcriptions(self) -> gestures.Transcriptions:
        """The gestures of every trial that has a transcription."""
        config, trials = self.builder_config, [trial.id for trial in self.labels.trials]
        return gestures.load(self.raw_dir, trials, annotations.tasks_of(config.task), config.exclude)

    def video_specs(self, split: str) -> Sequence[render.Video]:
        """One trial each, task by task, by surgeon and number."""
        size = (self.builder_config.height, self.builder_config.width)
        recorded = Checksums(self.raw_dir)
        found, _ = self.sources
        done = self.transcriptions.of
        return [
            render.Video(
                table_row(trial, done.get(trial.id, [])),
                source := found[trial.id],
                size,
                recorded.of_source(source.path, source.names),
            )
            for trial in self.labels.trials
        ]

    def renderer(self) -> Renderer:
        """Decodes a video file or reads a folder of images."""
        return render.render

    def raw_videos(self, found: list[Finding]) -> list[Video]:
        """Every labelled trial of the raw data, for --mode check."""
        config = self.builder_config
        return check.raw_videos(
            self.raw_dir, found, task=config.task, capture=config.capture, layout=config.layout,
            info_dir=config.info_dir, frames_dir=config.frames_dir, exclude=config.exclude,
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Score range, the items, the partitions in use, where labels and folds are from, and the traps found."""
        return {
            "score_range": list(self.SCORE_RANGE),
            "judge_rule": self.JUDGE_RULE,
            "items": list(annotations.ITEMS),
            "labels_from": self.labels.source,
            "folds_from": self.labels.folds_from,
            "gestures_from": list(self.transcriptions.folders),
            # Name -> the column whose values are the folds.
            "protocols": {"fourfold": "fold", "loso": "trial", "louo": "group"},
            "traps": {
                **self.labels.traps,
                "not_labelled": self.sources[1],
                "no_transcription": list(self.transcriptions.missing),
                "transcription_without_trial": list(self.transcriptions.without_trial),
            },
        }

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> list[tfds.core.SplitInfo]:
        """Builds, then compares the gestures with the frames that came out."""
        splits = super()._generate_splits(dl_manager, download_config)
        table = self.info.metadata["table"]
        columns = zip(table["id"], table["gestures"], table["num_frames"], strict=True)
        over = [
            {"id": id_, "frames": frames, "gestures": gestures.to_text(late)}
            for id_, text, frames in columns
            if (late := gestures.beyond(text, frames))
        ]
        self.info.metadata["traps"]["gestures_beyond_the_video"] = over
        if over:
            listed = ", ".join(f"{row['id']} ({row['frames']} frames: {row['gestures']})" for row in over)
            print(f"JIGSAWS: kept, though gestures end after the video: {len(over)}: {listed}", file=sys.stderr)
        return splits


def table_row(trial: annotations.Trial, done: Sequence[gestures.Gesture] = ()) -> dict[str, Any]:
    """Row of the video table; the group is the surgeon, the judges are the six items."""
    return {
        "id": trial.id,
        "group": trial.surgeon,
        "score": float(trial.total),
        "difficulty": None,
        "judges": [float(item) for item in trial.items],
        "eval_start": 0,
        "task": trial.task,
        "level": trial.level,
        "fold": trial.fold,
        "trial": trial.number,
        "gestures": gestures.to_text(done),
    }


def report(found: annotations.Annotations, not_labelled: Sequence[str], transcriptions: gestures.Transcriptions) -> str:
    """What to know about the annotations, in a few lines."""
    counts = {task: sum(trial.task == task for trial in found.trials) for task in annotations.TASKS}
    shown = ", ".join(f"{count} {task}" for task, count in counts.items() if count)
    lines = [f"JIGSAWS: {shown}; labels from {found.source}; folds from {found.folds_from}"]
    if wrong := found.traps["total_is_not_the_sum"]:
        listed = ", ".join(f"{trial['id']} ({trial['total']}, items give {trial['sum']})" for trial in wrong)
        lines.append(f"  kept, though the items give another total: {len(wrong)}: {listed}")
    if not_labelled:
        lines.append(f"  videos without a label, left out: {', '.join(not_labelled)}")
    for name, said in (("in_no_fold", "in no fold (fold = -1)"), ("excluded", "excluded")):
        if found.traps[name]:
            lines.append(f"  {said}: {', '.join(found.traps[name])}")
    if transcriptions.missing:
        lines.append(f"  without a transcription of gestures: {', '.join(transcriptions.missing)}")
    if transcriptions.without_trial:
        lines.append(f"  transcriptions of no labelled trial, left out: {', '.join(transcriptions.without_trial)}")
    return "\n".join(lines)
