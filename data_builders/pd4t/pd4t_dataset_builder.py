"""PD4T: 2931 videos of 30 people with Parkinson's disease in four tasks of the UPDRS, each scored 0-4."""

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from aqa_jax.check.findings import Finding, Video, error
from aqa_jax.data.builder import VideoBuilderConfig, VideoDatasetBuilder
from aqa_jax.data.checksums import Checksums
from aqa_jax.data.encode import Renderer
from aqa_jax.errors import DataError

from . import annotations, check, render, severity, videos


@dataclasses.dataclass(eq=False)
class Pd4tConfig(VideoBuilderConfig):
    """Options.

    Attributes:
      task: gait, finger, hand, leg or all.
      layout: auto, videos (csv files and mp4) or frames (PECoP's list files and folders of images).
      annotations_dir: folder of the csv files below the raw data; empty: looked for.
      videos_dir: folder of the mp4 files below the raw data; empty: looked for.
      train_list: PECoP's list of training samples below the raw data; {task} stands for the task.
      test_list: the same of the test samples.
      frames_dir: folder of the patients' folders of extracted frames, PECoP's prefix; {task} as above.
      leak: what to do with patients who are tested in one task and trained on in another: refuse or exclude
        (their training videos).
      check_counts: compare the annotations with the published severity table.
      exclude: ids of videos to leave out.
    """

    task: str = "gait"
    layout: str = "auto"
    annotations_dir: str = ""
    videos_dir: str = ""
    train_list: str = "lists/{task}_train.txt"
    test_list: str = "lists/{task}_test.txt"
    frames_dir: str = "frames/{task}"
    leak: str = "refuse"
    check_counts: bool = True
    exclude: list[str] = dataclasses.field(default_factory=list)


class Builder(VideoDatasetBuilder):
    """See README.md for the files it reads."""

    VERSION = tfds.core.Version("1.0.0")
    SCORE_RANGE = (0.0, 4.0)
    BUILDER_CONFIGS: Sequence[Pd4tConfig] = [Pd4tConfig(name=task, task=task) for task in (*severity.TASKS, "all")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "PD4T is given out on a signed request only. Give the folder that holds Annotations/ and Videos/, or list "
        "files and extracted frames; data_builders/pd4t/README.md says more."
    )

    @functools.cached_property
    def layout(self) -> str:
        """ "videos" or "frames"."""
        config = self.builder_config
        tasks = annotations.tasks_of(config.task)
        first_list = self.raw_dir / config.train_list.replace("{task}", tasks[0])
        return videos.choose_layout(config.layout, self.raw_dir, config.annotations_dir, first_list)

    @functools.cached_property
    def labels(self) -> annotations.Annotations:
        """The checked annotations; what to know about them is printed once."""
        config = self.builder_config
        found = annotations.load(
            self._annotation_files(),
            is_csv=self.layout == "videos",
            leak=config.leak,
            check_counts=config.check_counts,
            exclude=config.exclude,
        )
        print(report(found, config.task, config.check_counts), file=sys.stderr)
        return found

    def _annotation_files(self) -> dict[tuple[str, str], Path]:
        """(task, split) -> csv or list file."""
        config = self.builder_config
        tasks = annotations.tasks_of(config.task)
        if self.layout == "videos":
            folder = annotations.find_folder(self.raw_dir, "Annotations", config.annotations_dir, "annotations_dir")
            return annotations.csv_files(folder, tasks)
        return annotations.list_files(self.raw_dir, tasks, {"train": config.train_list, "test": config.test_list})

    def _frame_folders(self) -> dict[str, Path]:
        """Task -> the folder of its patients' folders of images."""
        config = self.builder_config
        tasks = annotations.tasks_of(config.task)
        return {task: self.raw_dir / config.frames_dir.replace("{task}", task) for task in tasks}

    def raw_videos(self, found: list[Finding]) -> list[Video]:
        """Every annotated video of the raw data, for --mode check."""
        config = self.builder_config
        try:
            entries = check.read_entries(
                self._annotation_files(), found, is_csv=self.layout == "videos", leak=config.leak,
                check_counts=config.check_counts, exclude=config.exclude,
            )  # fmt: skip
            if self.layout == "frames":
                return check.in_folders(self._frame_folders(), entries, found)
            folder = annotations.find_folder(self.raw_dir, "Videos", config.videos_dir, "videos_dir")
        except DataError as fault:
            found.append(error("file", str(fault), self.raw_dir))
            return []
        return check.in_files(folder, entries, found)

    @functools.cached_property
    def sources(self) -> tuple[dict[str, videos.Source], list[str]]:
        """Where every video's frames are, by id; and what lies there that no annotation names."""
        config, found = self.builder_config, self.labels
        if self.layout == "frames":
            return videos.find_frames(self._frame_folders(), found.entries, found.excluded + found.dropped)
        folder = annotations.find_folder(self.raw_dir, "Videos", config.videos_dir, "videos_dir")
        return videos.find_videos(folder, found.entries, found.excluded + found.dropped)

    def video_specs(self, split: str) -> Sequence[render.Video]:
        """One video each, task by task, in the order of the published list."""
        size = (self.builder_config.height, self.builder_config.width)
        found, _ = self.sources
        recorded = Checksums(self.raw_dir)
        return [
            render.Video(
                table_row(entry), source := found[entry.id], size,
                recorded.of_source(source.path, videos.names_of(source)),
            )
            for entry in self.labels.splits[split]
        ]  # fmt: skip

    def renderer(self) -> Renderer:
        """Decodes a video file or reads a folder of images."""
        return render.render

    def describe(self) -> dict[str, Any]:
        """Score range, how the files were read, and the traps that were found; `severity` comes at the end."""
        found, config = self.labels, self.builder_config
        compared = severity.differences(found.observed, frames=self.layout == "videos")
        return {
            "score_range": list(self.SCORE_RANGE),
            "layout": self.layout,
            "severity_annotated": found.observed,
            "counts_checked": config.check_counts,
            "differs_from_published": compared,
            "traps": {
                "excluded": [entry.id for entry in found.excluded],
                "leak": found.leak,
                "left_out_for_the_leak": [entry.id for entry in found.dropped],
                "not_annotated": self.sources[1],
            },
        }

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> list[tfds.core.SplitInfo]:
        """Builds, then compares the frames that came out with those that were annotated."""
        splits = super()._generate_splits(dl_manager, download_config)
        table, metadata = self.info.metadata["table"], self.info.metadata
        columns = [table[name] for name in ("task", "split", "score", "num_frames")]
        stored = severity.observe(
            (task, split, int(score), frames) for task, split, score, frames in zip(*columns, strict=True)
        )
        counted = zip(table["id"], table["annotated_frames"], table["num_frames"], strict=True)
        other = [{"id": i, "annotated": said, "decoded": real} for i, said, real in counted if said != real]
        metadata["severity"] = stored
        metadata["traps"]["frame_counts_differ"] = other
        print(stored_report(stored, other, self.sources[1], len(table["id"])), file=sys.stderr)
        return splits


def table_row(entry: annotations.Entry) -> dict[str, Any]:
    """Row of the video table; the group is the patient."""
    return {
        "id": entry.id,
        "group": entry.patient,
        "score": float(entry.score),
        "difficulty": None,
        "judges": [],
        "eval_start": 0,
        "task": entry.task,
        "side": entry.side,
        "annotated_frames": entry.frames,
    }


def report(found: annotations.Annotations, task: str, checked: bool) -> str:
    """What to know about the annotations, in a few lines."""
    patients = {split: {entry.patient for entry in found.splits[split]} for split in annotations.SPLITS}
    kept = ", ".join(f"{len(found.splits[s])} {s} videos of {len(patients[s])} patients" for s in annotations.SPLITS)
    compared = "the same as published" if checked else "not compared with the published figures"
    lines = [f"PD4T {task}: {kept}; as annotated ({compared}):", severity.text(found.observed)]
    if found.leak:
        lines.append(
            f"  left out: {len(found.dropped)} training videos of {len(found.leak)} patients who are tested in "
            "another task (leak=exclude):"
        )
        lines += [f"    {line}" for line in annotations.leak_lines(found.leak)]
    if found.excluded:
        lines.append(f"  excluded: {', '.join(entry.id for entry in found.excluded)}")
    return "\n".join(lines)


def stored_report(
    stored: dict[str, severity.Table], other: Sequence[dict[str, Any]], unlisted: Sequence[str], total: int
) -> str:
    """What was found while the videos were decoded."""
    lines = ["PD4T as stored, frames as decoded:", severity.text(stored)]
    if unlisted:
        lines.append(f"  not annotated, left out: {len(unlisted)}: {_some(unlisted)}")
    if other:
        listed = [f"{row['id']} ({row['annotated']} annotated, {row['decoded']} decoded)" for row in other]
        lines.append(f"  other numbers of frames than annotated, kept: {len(other)} of {total}: {_some(listed)}")
    return "\n".join(lines)


def _some(names: Sequence[str], limit: int = 10) -> str:
    """The first few; all of them are in metadata.json."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more (metadata.json)" if len(names) > limit else "")
