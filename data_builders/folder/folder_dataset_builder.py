"""Any folder of videos with a csv of their scores: a dataset without a line of code."""

import dataclasses
import functools
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from aqa_jax.check.findings import Finding, Video, warning
from aqa_jax.data.builder import VideoBuilderConfig, VideoDatasetBuilder
from aqa_jax.data.encode import Renderer
from aqa_jax.errors import ConfigError, DataError

from . import assign, render, table, videos

VERSION = "1.0.0"
NO_TABLE = "none"


@dataclasses.dataclass(eq=False)
class FolderConfig(VideoBuilderConfig):
    """Options.

    Attributes:
      table: the csv file in the folder; empty: labels.csv, scores.csv, annotations.csv or the only one; none: there is
        none, and all videos are unlabelled.
      side: short side of the stored frames in pixels; their shape is that of most videos.
      height: of the stored frames instead, together with `width`; 0: as `side` says.
      width: see `height`.
      fps: frames a second to store, about; 0: all.
      min_frames: a shorter video is stretched to so many.
      test_fraction: share of the labelled videos to test on where the table has no column split; 0: none.
      split_seed: which of the many possible splits.
      split_by: subject, or video: single videos, whoever they are of.
      leak: what to do where the table's own split has a subject on both sides: refuse or allow.
      exclude: ids of videos to leave out.
    """

    height: int = 0
    width: int = 0
    table: str = ""
    side: int = 256
    fps: float = 0.0
    min_frames: int = 64
    test_fraction: float = 0.2
    split_seed: int = 0
    split_by: str = "subject"
    leak: str = "refuse"
    exclude: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Contents:
    """A folder, read and checked.

    Attributes:
      splits: rows by split; only those that have any.
      files: relative path of every row's video, by id.
      unlisted: video files that no row names.
      left_out: unlabelled videos of tested subjects.
      nothing_labelled: whether no video has a score.
      test_split: where it comes from, in words.
      notes: what to know.
      table_file: name of the csv; "" for none.
      digest: of the table and the names and sizes of its videos.
    """

    splits: dict[str, list[table.Row]]
    files: dict[str, str]
    unlisted: list[str]
    left_out: list[str]
    nothing_labelled: bool
    test_split: str
    notes: list[str]
    table_file: str
    digest: str

    @property
    def rows(self) -> list[table.Row]:
        """All rows that are stored."""
        return [row for some in self.splits.values() for row in some]


def read_folder(folder: Path, config: FolderConfig) -> Contents:
    """What lies in `folder`, without opening a video.

    Raises:
      ConfigError: an impossible option.
      DataError: the table cannot be read, or rows are wrong: all of them are named.
    """
    files = videos.video_files(folder)
    if not files:
        raise DataError(f"no video files in {folder} or below; known are {', '.join(sorted(videos.VIDEO_SUFFIXES))}")
    if config.table == NO_TABLE:
        path, found = None, _unlabelled(files)
    else:
        path = table.find(folder, config.table)
        found = table.read(path)
    drawn = not any(row.split for row in found.rows)
    if unknown := sorted(set(config.exclude) - {row.id for row in found.rows}):
        raise ConfigError(f"option exclude: no videos {', '.join(unknown)}; ids look like {found.rows[0].id!r}")
    _, _, unlisted = videos.match(found.rows, files)
    found.rows = [row for row in found.rows if row.id not in config.exclude]
    if config.exclude:
        found.notes.append(f"excluded: {', '.join(config.exclude)}")
    of_row, problems, _ = videos.match(found.rows, files)
    found.problems += problems
    splits, left_out, nothing = assign.assign(
        found, test_fraction=config.test_fraction, seed=config.split_seed, by=config.split_by, leak=config.leak
    )
    refuse(found.problems, path or folder)
    if unlisted:
        found.notes.append(f"videos that no row names, not used: {len(unlisted)} ({', '.join(unlisted[:5])})")
    digest = hashlib.sha256(path.read_bytes() if path else b"")
    for file in sorted(of_row.values()):
        digest.update(f"{file}\0{(folder / file).stat().st_size}\n".encode())
    by = "subject" if config.split_by == "subject" and any(row.subject for row in found.rows) else "video"
    test_split = f"test split drawn by {by}, seed {config.split_seed}" if drawn else "test split of the table"
    return Contents(
        splits=splits,
        files=of_row,
        unlisted=unlisted,
        left_out=[row.id for row in left_out],
        nothing_labelled=nothing,
        test_split=test_split,
        notes=found.notes,
        table_file=path.name if path else "",
        digest=digest.hexdigest(),
    )


def _unlabelled(files: Sequence[str]) -> table.Table:
    """Every video, without a score; a subject is the folder that it lies in, where there are several."""
    rows = [table.Row(0, Path(file).with_suffix("").as_posix(), file, subject=os.path.dirname(file)) for file in files]
    if len({row.subject for row in rows}) < 2 or not all(row.subject for row in rows):
        rows = [dataclasses.replace(row, subject="") for row in rows]
    found = table.Table(rows)
    seen: dict[str, str] = {}
    for row in rows:
        if row.id in seen:
            found.problems.append(f"{seen[row.id]} and {row.file} differ in nothing but the suffix; rename one")
        seen[row.id] = row.file
    return found


def refuse(problems: Sequence[str], where: Path, advice: str = "") -> None:
    """Raises DataError where there are problems, with all of them in it."""
    if problems:
        head = f"{where}: {len(problems)} problem{'s' * (len(problems) > 1)}; nothing was built{advice}:"
        raise DataError("\n  ".join([head, *problems]))


class Builder(VideoDatasetBuilder):
    """See README.md for the folder it reads."""

    VERSION = tfds.core.Version(VERSION)
    BUILDER_CONFIGS: Sequence[FolderConfig] = [FolderConfig(name="default")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Give the folder of your videos and their csv with --config.data.raw_dir; docs/your_own_data.md says more."
    )

    @classmethod
    def config_for(
        cls, config: VideoBuilderConfig, raw_dir: str | os.PathLike[str] | None, data_dir: str | os.PathLike[str]
    ) -> VideoBuilderConfig:
        """`config` under a name that another folder, another table or a changed video does not have.

        Where the folder is gone and one dataset was built from a folder of its name, that one's.
        """
        assert isinstance(config, FolderConfig)
        if raw_dir is None:
            return config  # The error is the same as every other builder's.
        folder = Path(raw_dir)
        name = re.sub(r"[^A-Za-z0-9_.]+", "_", folder.resolve().name) or "root"
        suffix = config.name.removeprefix("default")
        if folder.is_dir():
            return _renamed(config, f"{name}-{read_folder(folder, config).digest[:8]}{suffix}")
        pattern = f"{name}-{'[0-9a-f]' * 8}{suffix}/{VERSION}/dataset_info.json"
        built = sorted(Path(data_dir, cls.name).glob(pattern))
        if len(built) != 1:
            return config
        return _renamed(config, built[0].parents[1].name)

    def _find_raw_data(self, given: str | os.PathLike[str] | None) -> None:
        """Reads the folder and looks into every video, before anything is decoded."""
        super()._find_raw_data(given)
        config = self.builder_config
        contents = self.contents
        self.SPLITS = tuple(contents.splits)
        # The pretext task is evaluated on videos without labels too.
        self.UNLABELLED_SPLITS = ("unlabelled", "test") if contents.nothing_labelled else ("unlabelled",)
        row_of = {row.id: row.number for row in contents.rows}
        files = {row.id: contents.files[row.id] for row in contents.rows}
        self.sources, broken = videos.look(self.raw_dir, files, row_of)
        refuse(broken, self.raw_dir, "; repair or re-encode these files, or leave them out with the option exclude")
        self.notes = list(contents.notes)
        if bool(config.height) != bool(config.width):
            raise ConfigError("options height and width go together; or give side alone")
        sources = list(self.sources.values())
        size, other = videos.stored_size(sources, config.side)
        if config.height:
            size = (config.height, config.width)
        elif other:
            self.notes.append(f"videos of another shape than most, squeezed or stretched to it: {other}")
        lengths = [source.frames for source in sources]
        if short := sum(frames < config.min_frames for frames in lengths):
            self.notes.append(f"videos of fewer than {config.min_frames} frames, stretched to so many: {short}")
        if vouched := sum(source.expected is not None for source in sources):
            self.notes.append(f"videos that are what their recorded checksum says: {vouched} of {len(sources)}")
        if config.fps and (slow := sum(source.fps < config.fps for source in sources)):
            self.notes.append(f"videos with fewer than {config.fps:g} frames a second, kept whole: {slow}")
        self._builder_config = dataclasses.replace(config, height=size[0], width=size[1])
        print(report(contents, size, self.notes, self.raw_dir), file=sys.stderr)

    @functools.cached_property
    def contents(self) -> Contents:
        """What the folder holds."""
        return read_folder(self.raw_dir, self.builder_config)

    def raw_videos(self, found: list[Finding]) -> list[Video]:
        """Every video of the table, for --mode check, which says by itself where a table cannot be read."""
        contents, file = self.contents, str(self.raw_dir / self.contents.table_file)
        found += [warning("video", "no row names it", self.raw_dir / name) for name in contents.unlisted]
        return [
            Video(
                row.id, split, assign.subject_of(row), row.score, row.difficulty,
                row.judges if row.score is not None else (), file, row.number or None,
                path=str(self.raw_dir / contents.files[row.id]),
            )
            for split, rows in contents.splits.items() for row in rows
        ]  # fmt: skip

    def video_specs(self, split: str) -> Sequence[render.Video]:
        """One video each, in the table's order."""
        config = self.builder_config
        size = (config.height, config.width)
        return [
            render.Video(
                table_row(row), source := self.sources[row.id], size, config.fps, config.min_frames, source.expected
            )
            for row in self.contents.splits[split]
        ]

    def renderer(self) -> Renderer:
        """Decodes a video file."""
        return render.render

    def describe(self) -> dict[str, Any]:
        """Range of the scores, what the table was, and what was noted."""
        scores = [row.score for row in self.contents.rows if row.score is not None]
        return {
            "score_range": [min(scores), max(scores)] if scores else None,
            "test_split": self.contents.test_split,
            "table_file": self.contents.table_file,
            "digest": self.contents.digest,
            "traps": {
                "notes": self.notes,
                "not_in_table": self.contents.unlisted,
                "left_out_for_the_leak": self.contents.left_out,
                "excluded": self.builder_config.exclude,
            },
        }


def _renamed(config: FolderConfig, name: str) -> FolderConfig:
    changes: dict[str, Any] = {"name": name}
    return dataclasses.replace(config, **changes)


def table_row(row: table.Row) -> dict[str, Any]:
    """Row of the video table; the group is the subject."""
    return {
        "id": row.id,
        "group": assign.subject_of(row),
        "score": row.score,
        "difficulty": row.difficulty,
        "judges": list(row.judges) if row.score is not None else [],
        "eval_start": 0,
    }


def report(contents: Contents, size: tuple[int, int], notes: Sequence[str], folder: Path) -> str:
    """What will be built, in a few lines."""
    parts = []
    for split, rows in contents.splits.items():
        subjects = len({assign.subject_of(row) for row in rows})
        parts.append(f"{len(rows)} {split} videos of {subjects} subjects")
    lines = [f"{folder}: {', '.join(parts)}; frames stored at {size[1]}x{size[0]}"]
    scores = [row.score for row in contents.rows if row.score is not None]
    if scores:
        lines.append(f"  scores {min(scores):g} to {max(scores):g}")
    return "\n".join([*lines, *(f"  {note}" for note in notes)])
