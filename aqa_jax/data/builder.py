"""Base class of the dataset builders: TFDS metadata and directories, videos rendered in parallel, bounded
memory.

A builder says which videos there are (`video_specs`) and how one becomes frames (`renderer`); everything
on disk is done here. TFDS's own writer is not used: with shuffling off it sorts a whole split in memory.
"""

import collections
import contextlib
import dataclasses
import fcntl
import functools
import glob
import inspect
import math
import os
import shutil
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from aqa_jax.check.findings import Finding, Video
from aqa_jax.data.encode import FrameFormat, Renderer
from aqa_jax.data.render_pool import RenderPool
from aqa_jax.data.video_store import METADATA_DIGEST, Fingerprint, RecordWriter, Table, metadata_digest
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.stopping import half_done

REQUIRED_COLUMNS = ("id", "group", "score", "difficulty", "judges", "eval_start")


@dataclasses.dataclass(eq=False)
class VideoBuilderConfig(tfds.core.BuilderConfig):
    """Options of a builder; subclass it to add more. `tfds build --config '{"name": ..., "height": ...}'`
    sets them.

    Attributes:
      height: stored frame height in pixels.
      width: stored frame width in pixels.
      jpeg_quality: 0-100; from 95 up chroma is not subsampled.
    """

    height: int = 256
    width: int = 455
    jpeg_quality: int = 90

    def options(self) -> dict[str, Any]:
        """The options alone, without TFDS's own fields."""
        own = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in own}


class _LocalInfo(tfds.core.DatasetInfo):
    """Dataset info that asks no server whether it knows the dataset."""

    def initialize_from_bucket(self) -> None:
        pass


class VideoDatasetBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Subclass as `Builder` in `<name>/<name>_dataset_builder.py`.

    Set VERSION, BUILDER_CONFIGS (the first is the default), SPLITS; implement `video_specs` and `renderer`.
    """

    SPLITS: Sequence[str] = ("train", "test")
    UNLABELLED_SPLITS: Sequence[str] = ()  # their score is None
    # What --mode check holds labels against: see aqa_jax.check.labels.
    SCORE_RANGE: tuple[float, float] | None = None
    JUDGE_RULE: str = "none"
    GROUPS_APART: bool = True  # whether the groups of test videos must be in no other split
    workers: int | None = None  # processes; None: one a core; 0: render in this one
    raw_dir: Path  # set before `video_specs` for builders with MANUAL_DOWNLOAD_INSTRUCTIONS

    @classmethod
    def write_samples(cls, folder: str | os.PathLike[str], count: int) -> Path:
        """Render `count` videos of no split as ordinary files into `folder`, for scoring.

        Returns:
          A CSV file of their truth, with the columns `file` and `difficulty` at least.

        Raises:
          ConfigError: this dataset is not rendered.
        """
        raise ConfigError(f"{cls.name} is not rendered, so it has no samples to write: set config.predict.samples=0")

    @classmethod
    def config_for(
        cls, config: VideoBuilderConfig, raw_dir: str | os.PathLike[str] | None, data_dir: str | os.PathLike[str]
    ) -> VideoBuilderConfig:
        """`config`, under another name where the dataset's folder in `data_dir` depends on what is in `raw_dir`."""
        return config

    def __init_subclass__(cls, **kwargs: Any):
        # The registry would refuse a folder that is imported both as `name` and as `data_builders.name`.
        super().__init_subclass__(skip_registration=True, **kwargs)

    def __init__(self, *, file_format: str | None = None, **kwargs: Any):
        """As TFDS's, with array_record as the only format."""
        if file_format not in (None, "array_record", tfds.core.FileFormat.ARRAY_RECORD):
            raise DataError(f"videos are stored as array_record, not {file_format!r}")
        super().__init__(file_format="array_record", **kwargs)

    # What a builder provides.

    def video_specs(self, split: str) -> Sequence[Any]:
        """One small picklable spec a video, in stored order; `self.raw_dir` is where the raw data lies."""
        raise NotImplementedError

    def renderer(self) -> Renderer:
        """A module-level function, or functools.partial of one, in a module without jax or tfds.

        It turns a spec into (frames, row): an iterable of uint8 RGB [height, width, 3], and a dict with at
        least `id`, `group`, `score`, `difficulty` (None if unknown), `judges` (list, may be empty),
        `eval_start`.
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """More metadata, as plain JSON values: `score_range` [low, high], `judge_rule`, `traps`, ..."""
        return {}

    def raw_videos(self, found: list[Finding]) -> list[Video] | None:
        """For --mode check: every video of the raw data that the annotations let one know of, faulty or not.

        Does not stop at faults of files, lines and folders: they go into `found`. What can be told from the videos
        themselves (labels out of range, ids that repeat, damaged frames, ...) is left to the check. None: this builder
        cannot; the check then says where its build would stop.
        """
        return None

    # What TFDS asks for.

    def _info(self) -> tfds.core.DatasetInfo:
        texts = self.get_metadata()
        return _LocalInfo(
            builder=self,
            description=texts.description,
            citation=texts.citation,
            features=tfds.features.FeaturesDict({"frames": tfds.features.Sequence(np.object_)}),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> Any:
        raise NotImplementedError("_generate_splits writes the records")

    def _generate_examples(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("_generate_splits writes the records")

    def _make_download_manager(self, *, download_config: Any, **_: Any) -> Any:
        """Nothing is ever downloaded: only where the raw data lies is passed on."""
        return types.SimpleNamespace(manual_dir=download_config.manual_dir, downloaded_size=0)

    def _log_download_bytes(self) -> None:
        print(f"building {self.name} in {self.data_dir}", file=sys.stderr)

    def _log_download_done(self) -> None:
        print(f"built {self.name}", file=sys.stderr)

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Build, unless it is built. One process at a time; what a killed build left behind is removed."""
        final = Path(self.data_dir)
        final.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(final.parent / f".{final.name}.lock"):
            remove_unfinished = functools.partial(_remove_unfinished, final)
            remove_unfinished()
            try:
                with half_done(remove_unfinished):
                    super().download_and_prepare(**kwargs)
            except BaseException:
                # TFDS removes its folder too, but not if Ctrl-C comes just when it was made.
                with contextlib.suppress(OSError):
                    remove_unfinished()
                raise

    def _download_and_prepare(self, **kwargs: Any) -> None:
        """Builds; what a subclass adds to the metadata afterwards is part of what may not change later."""
        super()._download_and_prepare(**kwargs)
        self.info.metadata[METADATA_DIGEST] = metadata_digest(self.info.metadata)

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> list[tfds.core.SplitInfo]:
        if download_config.max_examples_per_split:
            raise DataError("max_examples_per_split would leave a part that looks whole; use the builder's options")
        if self.MANUAL_DOWNLOAD_INSTRUCTIONS:
            self._find_raw_data(dl_manager.manual_dir)
        # The tfds command takes the builder's folder off the path again; spawned workers need it there.
        root = str(Path(inspect.getfile(type(self))).parents[type(self).__module__.count(".")])
        if root not in sys.path:
            sys.path.append(root)
        config = self.builder_config
        form = FrameFormat(config.height, config.width, config.jpeg_quality)
        specs = {split: list(self.video_specs(split)) for split in self.SPLITS}
        if empty := [split for split, some in specs.items() if not some]:
            raise DataError(f"{self.name}: no videos in split {' and '.join(empty)}")
        fingerprint, rows, writers = Fingerprint(), [], {}
        with RenderPool(self.workers, self.renderer(), form, self.data_dir) as pool:
            for split, some in specs.items():
                writers[split] = RecordWriter(self.data_dir, self.name, split)
                rows += self._write_split(split, some, pool, writers[split], fingerprint)
        shards = {split: writer.close() for split, writer in writers.items()}
        table = make_table(rows, self.UNLABELLED_SPLITS)
        self.info.metadata.update(
            self.describe(),
            table=table,
            frame_size=[form.height, form.width],
            options=config.options(),
            shards=shards,
            # For whoever gives other raw data later: a finished dataset is not built again.
            raw_dir=str(self.raw_dir.resolve()) if self.MANUAL_DOWNLOAD_INSTRUCTIONS else "",
            fingerprint=fingerprint.result(table),
            checksums=fingerprint.checksums(),
        )
        return [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=writer.lengths,
                num_bytes=writer.num_bytes,
                filename_template=self._get_filename_template(split_name=split),
            )
            for split, writer in writers.items()
        ]

    def _find_raw_data(self, given: str | os.PathLike[str] | None) -> None:
        if given is None or not Path(given).is_dir():
            where = f"nothing at {given}" if given else "no folder given"
            raise DataError(f"{self.name} needs raw data: {where}. {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        self.raw_dir = Path(given)

    def _write_split(
        self,
        split: str,
        specs: Sequence[Any],
        pool: RenderPool,
        writer: RecordWriter,
        fingerprint: Fingerprint,
    ) -> list[dict[str, Any]]:
        """Render and write one split; its table rows."""
        rows, first_record = [], 0
        label = f"{self.name} {split}"
        for row, records in tqdm(pool.videos(specs), total=len(specs), desc=label, unit="video", disable=None):
            for record in records:
                writer.write(record)
                fingerprint.add(split, record)
            num_records = row.pop("num_records")
            rows.append({**row, "split": split, "first_record": first_record})
            first_record += num_records
        return rows


def make_table(rows: list[dict[str, Any]], unlabelled: Sequence[str] = ()) -> Table:
    """Columns from rows; DataError on missing columns, repeated ids (also across splits), and scores that are NaN
    outside the `unlabelled` splits, or given in them."""
    for row in rows:
        if missing := [name for name in REQUIRED_COLUMNS if name not in row]:
            raise DataError(f"video {row.get('id')!r}: the renderer's row lacks {', '.join(missing)}")
    splits: dict[str, list[str]] = collections.defaultdict(list)
    for row in rows:
        splits[row["id"]].append(row["split"])
    if repeated := {id_: where for id_, where in splits.items() if len(where) > 1}:
        listed = ", ".join(f"{id_} ({' and '.join(where)})" for id_, where in repeated.items())
        raise DataError(f"the same id more than once: {listed}; every video needs its own id and one split")
    labelled = [row for row in rows if row["split"] not in unlabelled]
    if given := [row["id"] for row in rows if row["split"] in unlabelled and row["score"] is not None]:
        raise DataError(f"videos of an unlabelled split with a score: {', '.join(given)}")
    if bad := [row["id"] for row in labelled if row["score"] is None or not math.isfinite(row["score"])]:
        raise DataError(f"the score is not a number for: {', '.join(bad)}; correct or exclude these videos")
    names = sorted({name for row in rows for name in row}, key=lambda name: (name not in REQUIRED_COLUMNS, name))
    table = {name: [_plain(row.get(name)) for row in rows] for name in names}
    for name in ("difficulty", "judges"):
        # JSON has no NaN: it would come back as a number that is not there.
        if bad := [row["id"] for row in rows if not _finite(row[name])]:
            raise DataError(f"{name} not a number for: {', '.join(bad)}; correct or exclude these videos")
    return table


def _finite(value: Any) -> bool:
    """Whether a number, or each of a list, is finite; None stands for a number that is not known."""
    values = value if isinstance(value, list | tuple | np.ndarray) else [value]
    return all(item is None or math.isfinite(item) for item in values)


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor numpy numbers."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _remove_unfinished(final: Path) -> None:
    """What a build of `final` left behind. Only for who holds its lock."""
    for folder in final.parent.glob(f"incomplete.*_{glob.escape(final.name)}"):
        shutil.rmtree(folder)


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file; the system frees it when the process dies."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process is building here; waiting for it ({path})", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
