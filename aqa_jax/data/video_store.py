"""The on-disk layout of a dataset: records of eight JPEG frames in array_record files, and a table of its
videos.

    <data_dir>/<name>/<config>/<version>/
        dataset_info.json, features.json     as TFDS writes them
        metadata.json                        the table, frame size, fingerprint, and what the builder reports
        <name>-<split>.array_record-00000-of-00001

A dataset directory is renamed into place when it is whole; `VideoStore.open` refuses anything else.
"""

import base64
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from aqa_jax.data.decode import cv2, decode_jpeg
from aqa_jax.data.frame_cache import FrameCache
from aqa_jax.data.records import FRAMES_PER_RECORD, decode_record
from aqa_jax.errors import DataError, DecodeError

Table = dict[str, list[Any]]  # column -> one value a video; None where there is none
MAX_SHARD_BYTES = 1 << 30
REMEDY = "--mode check lists all such videos: build the dataset again, or leave them out with config.data.exclude"


def shard_name(dataset: str, split: str, index: int, count: int) -> str:
    """File name of one shard, as TFDS names it."""
    return f"{dataset}-{split}.array_record-{index:05d}-of-{count:05d}"


class RecordWriter:
    """Writes the records of one split into shards of about a gigabyte."""

    def __init__(
        self, directory: str | os.PathLike[str], dataset: str, split: str, *, max_bytes: int = MAX_SHARD_BYTES
    ):
        self.directory, self.dataset, self.split, self.max_bytes = Path(directory), dataset, split, max_bytes
        self.lengths: list[int] = []
        self.num_bytes = 0
        self._shard_bytes = 0
        self._writer: ArrayRecordWriter | None = None

    def _part(self, index: int) -> Path:
        return self.directory / f"part-{self.split}-{index:05d}"

    def write(self, record: bytes) -> None:
        """Append one record."""
        if self._writer is None or self._shard_bytes >= self.max_bytes:
            self._close_shard()
            # JPEGs do not compress; one record a group gives random access.
            options = "group_size:1,uncompressed"
            self._writer = ArrayRecordWriter(str(self._part(len(self.lengths))), options)
            self.lengths.append(0)
            self._shard_bytes = 0
        try:
            self._writer.write(record)
        except RuntimeError as error:
            raise self._unwritten(self._part(len(self.lengths) - 1)) from error
        self.lengths[-1] += 1
        self._shard_bytes += len(record)
        self.num_bytes += len(record)

    def _close_shard(self) -> None:
        if self._writer is None:
            return
        path, writer, self._writer = self._part(len(self.lengths) - 1), self._writer, None
        try:
            whole = writer.ok()
            writer.close()
            whole = whole and ArrayRecordReader(str(path)).num_records() == self.lengths[-1]
        except (RuntimeError, ValueError) as error:
            raise self._unwritten(path) from error
        if not whole:
            raise self._unwritten(path)

    @staticmethod
    def _unwritten(path: Path) -> DataError:
        return DataError(f"{path} could not be written whole: is the disk full? Nothing of this build is kept")

    def close(self) -> list[dict[str, Any]]:
        """Finish the last shard and give all their final names: `name`, `bytes` and `records` of each."""
        self._close_shard()
        shards = []
        for index, length in enumerate(self.lengths):
            path = self.directory / shard_name(self.dataset, self.split, index, len(self.lengths))
            with open(self._part(index), "rb+") as file:
                os.fsync(file.fileno())
            os.replace(self._part(index), path)
            shards.append({"name": path.name, "bytes": path.stat().st_size, "records": length})
        return shards


class Fingerprint:
    """sha256 over the table and, per split, over every record in order; and a checksum of every record."""

    def __init__(self) -> None:
        self._splits: dict[str, Any] = {}
        self._crcs: dict[str, list[int]] = {}

    def add(self, split: str, record: bytes) -> None:
        """Take in the next record of `split`."""
        digest = self._splits.setdefault(split, hashlib.sha256())
        digest.update(len(record).to_bytes(8, "little"))
        digest.update(record)
        self._crcs.setdefault(split, []).append(zlib.crc32(record))

    def result(self, table: Table) -> str:
        """Hex digest."""
        whole = hashlib.sha256(json.dumps(table, sort_keys=True).encode())
        for split in sorted(self._splits):
            whole.update(split.encode() + self._splits[split].digest())
        return whole.hexdigest()

    def checksums(self) -> dict[str, dict[str, str]]:
        """Of every split: `sha256` of its records, hexadecimal, and `crc32` of each, little-endian in base 64."""
        return {
            split: {
                "sha256": digest.hexdigest(),
                "crc32": base64.b64encode(np.array(self._crcs[split], "<u4").tobytes()).decode(),
            }
            for split, digest in self._splits.items()
        }


METADATA_DIGEST = "metadata_sha256"
"""The metadata's entry that tells whether the others are what was built."""


def metadata_digest(metadata: Mapping[str, Any]) -> str:
    """sha256 of all entries but that of the digest itself, hexadecimal."""
    others = {name: value for name, value in metadata.items() if name != METADATA_DIGEST}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


class VideoTable:
    """One row a video. Columns as numpy arrays: text as objects, numbers with NaN where there is none."""

    def __init__(self, columns: Table):
        self._columns = {name: _as_array(values) for name, values in columns.items()}
        self._ids = {id_: row for row, id_ in enumerate(columns["id"])}

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return tuple(self._columns)

    def column(self, name: str) -> np.ndarray:
        """Values of one column, [rows]; lists of numbers as float32 [rows, longest] padded with NaN."""
        if name not in self._columns:
            raise DataError(f"the dataset has no column {name!r}; it has {', '.join(self._columns)}")
        return self._columns[name]

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of one split, int64, in stored order."""
        rows = np.flatnonzero(self.column("split") == split)
        if not len(rows):
            raise DataError(
                f"the dataset has no split {split!r}; it has {', '.join(sorted(set(self.column('split'))))}"
            )
        return rows

    def row(self, id_: str) -> int:
        """Row number of the video with this id."""
        if id_ not in self._ids:
            raise DataError(f"the dataset has no video {id_!r}")
        return self._ids[id_]


def _as_array(values: Sequence[Any]) -> np.ndarray:
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, list) for value in present):
        out = np.full((len(values), max(len(value) for value in present)), np.nan, np.float32)
        for row, value in enumerate(values):
            out[row, : len(value or [])] = value or []
        return out
    if present and all(isinstance(value, str) for value in present):
        return np.array([value or "" for value in values], object)
    if len(present) == len(values) and all(isinstance(value, int) for value in values):
        return np.array(values, np.int64)
    return np.array([np.nan if value is None else value for value in values], np.float64)


class VideoStore:
    """Reader of one built dataset. Safe to share between threads."""

    def __init__(self, directory: Path, metadata: dict[str, Any]):
        self.directory, self.metadata = directory, metadata
        self.table = VideoTable(metadata["table"])
        self.frame_size: tuple[int, int] = tuple(metadata["frame_size"])
        self._split = self.table.column("split")
        self._first_record = self.table.column("first_record")
        self._num_frames = self.table.column("num_frames")
        self._ids = self.table.column("id")
        self._ends = {s: np.cumsum([shard["records"] for shard in v]) for s, v in metadata["shards"].items()}
        self._crcs = {
            split: np.frombuffer(base64.b64decode(sums["crc32"], validate=True), "<u4")
            for split, sums in metadata.get("checksums", {}).items()
        }
        self._readers: dict[tuple[str, int], ArrayRecordReader] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return VideoStore, (self.directory, self.metadata)

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> "VideoStore":
        """Open a dataset; DataError when it is missing, half-made or a file has another size."""
        try:
            return cls._open(Path(directory))
        except OSError as error:
            raise DataError(f"{directory} cannot be read: {error.strerror or error}") from error

    @classmethod
    def _open(cls, path: Path) -> "VideoStore":
        advice = "build it with `python run.py --config configs/NAME.py --workdir DIR --mode build`"
        if not path.is_dir():
            raise DataError(f"no dataset at {path}: {advice}")
        if not (path / "metadata.json").is_file() or not (path / "dataset_info.json").is_file():
            found = sorted(str(p.parent) for p in path.glob("*/metadata.json"))
            hint = f"; did you mean {', '.join(found)}?" if found else ""
            raise DataError(f"{path} is not a whole dataset (a build that was cut off?){hint}: {advice}")
        try:
            store = cls(path, json.loads((path / "metadata.json").read_text(encoding="utf-8")))
            shards = [shard for split in store.metadata["shards"].values() for shard in split]
            # Datasets of earlier versions have no digest.
            whole = store.metadata.get(METADATA_DIGEST) in (None, metadata_digest(store.metadata))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, DataError) as error:
            raise DataError(f"{path}/metadata.json cannot be read ({error}): remove {path} and {advice}") from error
        if not whole:
            raise DataError(f"{path}/metadata.json was changed after the build: remove {path} and {advice}")
        for shard in shards:
            size = (path / shard["name"]).stat().st_size if (path / shard["name"]).is_file() else None
            if size != shard["bytes"]:
                state = "missing" if size is None else f"{size} bytes instead of {shard['bytes']}"
                raise DataError(f"{path / shard['name']} is {state}: remove {path} and {advice}")
        return store

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything stored, as the builder computed it."""
        return self.metadata["fingerprint"]

    def verify(self) -> None:
        """Read everything again and compare with the fingerprint; DataError when a byte has changed."""
        fingerprint = Fingerprint()
        for split, ends in self._ends.items():
            for start in range(0, int(ends[-1]), 64):
                for record in self._records(split, range(start, min(start + 64, int(ends[-1])))):
                    fingerprint.add(split, record)
        if fingerprint.result(self.metadata["table"]) != self.fingerprint:
            raise DataError(f"{self.directory}: the files differ from what was built; remove it and build again")

    def _records(self, split: str, positions: Iterable[int]) -> list[bytes]:
        """Raw records by their position in the split, in the order asked for."""
        out: list[bytes] = []
        for position in positions:
            shard = int(np.searchsorted(self._ends[split], position, side="right"))
            start = int(self._ends[split][shard - 1]) if shard else 0
            try:
                (record,) = self._reader(split, shard).read([int(position) - start])
            except (RuntimeError, ValueError, IndexError, OSError) as error:
                raise self._damaged(split, shard) from error
            # The file's own checksums cannot tell that it is another build's, or that an index leads elsewhere.
            if split in self._crcs and zlib.crc32(record) != self._crcs[split][position]:
                raise self._damaged(split, shard)
            out.append(record)
        return out

    def _damaged(self, split: str, shard: int) -> DataError:
        path = self.directory / self.metadata["shards"][split][shard]["name"]
        return DataError(f"{path} is {'damaged' if path.is_file() else 'gone'}")

    def stored_frames(self, row: int) -> int:
        """Frames that the records of one video hold, which the table should say too.

        Raises:
          DataError: a record is damaged.
        """
        first, count = int(self._first_record[row]), -(-int(self._num_frames[row]) // FRAMES_PER_RECORD)
        return sum(len(self._jpegs(record)) for record in self._records(self._split[row], range(first, first + count)))

    def _jpegs(self, record: bytes) -> list[memoryview]:
        try:
            return decode_record(record)
        except ValueError as error:
            raise DataError(f"{self.directory}: {error}") from error

    def _reader(self, split: str, shard: int) -> ArrayRecordReader:
        reader = self._readers.get((split, shard))
        if reader is None:
            path = self.directory / self.metadata["shards"][split][shard]["name"]
            options = "readahead_buffer_size:0,max_parallelism:0"
            reader = ArrayRecordReader(str(path), options, file_reader_buffer_size=64 * 1024)
            # Two threads may both get here: one reader is kept, the other is dropped.
            reader = self._readers.setdefault((split, shard), reader)
        return reader

    def read(
        self,
        row: int,
        frames: np.ndarray,
        *,
        crop: tuple[int, int, int, int] | None = None,
        flip: bool = False,
        out: np.ndarray | None = None,
        cache: FrameCache | None = None,
    ) -> np.ndarray:
        """Frames of one video, uint8 RGB [N, H, W, 3]; a frame asked for twice is decoded once.

        Args:
          row: row of the table.
          frames: int [N], frame numbers from 0, in any order.
          crop: (top, left, height, width) in pixels of the stored frames.
          flip: mirror left and right.
          out: array to fill instead of a new one.
          cache: where decoded frames are looked up, and kept if there is room.

        Raises:
          DecodeError: a stored JPEG is damaged; names the video and the frame.
          DataError: a frame number outside the video, or a damaged file; names the video.
        """
        row, region = int(row), crop or (0, 0, *self.frame_size)
        top, left, height, width = region
        if min(top, left) < 0 or top + height > self.frame_size[0] or left + width > self.frame_size[1]:
            raise DataError(f"crop {crop} does not fit into the stored frames of {self.frame_size} pixels")
        if out is None:
            out = np.empty((len(frames), height, width, 3), np.uint8)
        places: dict[int, list[int]] = {}
        for place, frame in enumerate(np.asarray(frames).tolist()):
            places.setdefault(frame, []).append(place)
        if not places:
            return out
        wanted, count = sorted(places), int(self._num_frames[row])
        if wanted[0] < 0 or wanted[-1] >= count:
            raise DataError(f"video {self._ids[row]!r} has frames 0..{count - 1}; {wanted[0]}..{wanted[-1]} asked for")
        found: dict[int, np.ndarray] = {}
        if cache is not None:
            dataset = self.fingerprint
            keys = {frame: (dataset, row, frame, region) for frame in wanted}
            found = {frame: kept for frame in wanted if (kept := cache.get(keys[frame])) is not None}
        decoded = self._decoded(row, [frame for frame in wanted if frame not in found])
        for frame in wanted:
            image = found.get(frame)
            if image is None:
                image = next(decoded)[top : top + height, left : left + width]
                if cache is not None:
                    cache.put(keys[frame], image)
            first, *others = places[frame]
            # OpenCV mirrors thirty times faster than numpy copies backwards.
            out[first] = cv2.flip(image, 1) if flip else image
            for other in others:
                out[other] = out[first]
        return out

    def _decoded(self, row: int, frames: Sequence[int]) -> Iterator[np.ndarray]:
        """The whole images of ``frames``, ascending, one at a time."""
        chunks = sorted({frame // FRAMES_PER_RECORD for frame in frames})
        first = int(self._first_record[row])
        at, jpegs = -1, []
        try:
            records = dict(zip(chunks, self._records(self._split[row], [first + c for c in chunks]), strict=True))
            for frame in frames:
                chunk, place = divmod(frame, FRAMES_PER_RECORD)
                if chunk != at:
                    at, jpegs = chunk, self._jpegs(records.pop(chunk))
                if place >= len(jpegs):
                    raise DecodeError(f"frame {frame}: its record ends before it")
                image = decode_jpeg(jpegs[place], f"frame {frame}")
                if image.shape[:2] != self.frame_size:
                    raise DecodeError(f"frame {frame}: {image.shape[:2]} pixels instead of {self.frame_size}")
                yield image
        except DataError as error:
            raise type(error)(f"{self.directory}: video {self._ids[row]!r}, {error}. {REMEDY}") from error
