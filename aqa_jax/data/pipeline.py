"""The grain chain from rows of the table to batches of uint8 clips.

Small plans (which frames, which crop, mirrored or not) are drawn one by one, so they depend on seed and
position alone; a whole batch is then decoded by threads straight into its array. The buffer is bounded in
bytes.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import grain
import numpy as np

from aqa_jax.data import cores
from aqa_jax.data.frame_cache import FrameCache
from aqa_jax.data.sampling import Sampler
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import ConfigError, DataError

Batch = dict[str, np.ndarray]
BUFFER_BYTES = 512 * 1024 * 1024
_MAX_BUFFERED = 8
_EPOCHS = 1_000_000  # grain's own endless repeat overflows its length at batch size 1


class Plan(NamedTuple):
    """What to read for one example; row -1 is padding."""

    row: int
    view: int
    frames: np.ndarray | None  # int [S, T]
    crop: tuple[int, int, int, int]  # top, left, height, width
    flip: bool
    labels: tuple[int, ...] = ()


def train_iterator(
    store: VideoStore,
    rows: np.ndarray,
    window: Sampler,
    *,
    columns: Sequence[str] = ("score", "difficulty", "judges"),
    batch_size: int,
    seed: int,
    crop_size: int | tuple[int, int] | None = None,
    random_crop: bool = False,
    flip: bool = True,
    threads: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    shuffle_time: bool = False,
    still: bool = False,
    extra_columns: Mapping[str, np.ndarray] | None = None,
    pair_keys: np.ndarray | None = None,
    buffer_bytes: int = BUFFER_BYTES,
    cache: FrameCache | None = None,
) -> grain.DatasetIterator:
    """Endless shuffled batches of one process; saved and restored with
    `grain.checkpoint.CheckpointSave/Restore`.

    The stream depends on `seed` alone. Every epoch holds every row once over all processes together, and
    the k-th batches of all processes together are the k-th batch that one process would draw at the sum of
    their sizes.

    With `pair_keys` every row comes with a partner right behind it: a row of the same key, drawn anew each
    time; the row itself where there is no other. An epoch then holds every row once beside its appearances as
    a partner.

    Args:
      store: the dataset.
      rows: int [N], rows to train on.
      window: which frames.
      columns: numeric columns of the table to deliver.
      batch_size: examples a batch of this process, B.
      seed: of order and augmentation.
      crop_size: height and width in pixels (one number: square); None keeps the stored frames whole.
      random_crop: crop anywhere instead of in the centre.
      flip: mirror half of the examples.
      threads: that decode; by default one a core.
      process_index: this process, from 0.
      process_count: number of processes.
      shuffle_time: permute the frames of each window: the control that takes the motion away.
      still: every frame of a clip is its first: the control that leaves no time at all.
      extra_columns: numbers [table] that the table does not have, by name; in `columns` they go before it.
      pair_keys: [table], what partners share; batch_size is even then.
      buffer_bytes: limit of the batches decoded ahead; at least one is.
      cache: keeps decoded frames from one epoch to the next; not those of random crops, which do not come again.

    Returns:
      Iterator of dicts: video uint8 [B, S, T, H, W, 3] RGB, row int32 [B], float32 [B] or [B, J] a column,
      and int32 [B] for each of the window's labels.

    Raises:
      DataError: videos shorter than the window (all named), a crop larger than the frames, no such column.
      DecodeError: while iterating, when a stored frame is damaged.
    """
    rows = _checked(store, rows, window)
    size = _crop_size(store, crop_size)
    if random_crop and size == store.frame_size:
        random_crop = False
    planner = _TrainPlanner(
        store.table.column("num_frames"), store.frame_size, window, size, random_crop, flip, shuffle_time, still
    )
    decoder = _Decoder(store, window, size, columns, threads, extra_columns, None if random_crop else cache)
    stream = grain.MapDataset.source(rows).seed(seed).shuffle().repeat(_EPOCHS)
    if pair_keys is None:
        stream = stream.random_map(planner)[process_index::process_count].batch(batch_size, batch_fn=list)
    else:
        if batch_size % 2:
            raise ConfigError(f"a batch of {batch_size} cannot hold pairs: its size must be even")
        pairs = stream.random_map(_PairPlanner(planner, rows, pair_keys))[process_index::process_count]
        stream = pairs.batch(batch_size // 2, batch_fn=_joined)
    batches = stream.map(decoder)
    return iter(batches.to_iter_dataset(decoder.read_options(batch_size, buffer_bytes)))


class eval_iterator:
    """Every row once a view over all processes together; the last batch is padded.

    Takes the arguments of `train_iterator` that concern reading, and `views` (see `ClipWindow.evaluate`).
    Batches also hold view int32 [B] and mask float32 [B]: 1, or 0 on padding (zeros, row -1). All
    processes get the same number of batches, `len()`. Can be iterated again.
    """

    def __init__(
        self,
        store: VideoStore,
        rows: np.ndarray,
        window: Sampler,
        *,
        columns: Sequence[str] = ("score", "difficulty", "judges"),
        batch_size: int,
        crop_size: int | tuple[int, int] | None = None,
        threads: int | None = None,
        process_index: int = 0,
        process_count: int = 1,
        views: int = 1,
        shuffle_time: bool = False,
        still: bool = False,
        seed: int = 0,
        extra_columns: Mapping[str, np.ndarray] | None = None,
        buffer_bytes: int = BUFFER_BYTES,
        cache: FrameCache | None = None,
    ):
        rows = _checked(store, rows, window)
        size = _crop_size(store, crop_size)
        num_frames, eval_start = store.table.column("num_frames"), store.table.column("eval_start")
        crop = _centre(store.frame_size, size)
        items = [(int(row), view) for row in rows for view in range(views)]
        self._length = -(-len(items) // (batch_size * process_count))
        padding = Plan(-1, 0, None, crop, False)

        def plan(item: tuple[int, int]) -> Plan:
            row, view = item
            frames, labels = window.fixed(int(num_frames[row]), int(eval_start[row]), row, view, views, seed)
            if shuffle_time:
                frames = window.shuffled(frames, np.random.default_rng((seed, row)))
            return Plan(row, view, _stilled(frames) if still else frames, crop, False, labels)

        def batch(index: int) -> list[Plan]:
            first = index * batch_size * process_count + process_index
            wanted = range(first, first + batch_size * process_count, process_count)
            return [plan(items[i]) if i < len(items) else padding for i in wanted]

        decoder = _Decoder(store, window, size, columns, threads, extra_columns, cache, masked=True)
        options = decoder.read_options(batch_size, buffer_bytes)
        self._dataset = grain.MapDataset.range(self._length).map(batch).map(decoder).to_iter_dataset(options)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._dataset)


class _TrainPlanner(grain.transforms.RandomMap):
    def __init__(
        self,
        num_frames: np.ndarray,
        frame_size: tuple[int, int],
        window: Sampler,
        size: tuple[int, int],
        random_crop: bool,
        flip: bool,
        shuffle_time: bool,
        still: bool,
    ):
        self._num_frames, self._frame_size, self._window, self._size = num_frames, frame_size, window, size
        self._random_crop, self._flip, self._shuffle_time = random_crop, flip, shuffle_time
        self._still = still

    def random_map(self, row: int, rng: np.random.Generator) -> Plan:
        frames, labels = self._window.draw(int(self._num_frames[row]), rng)
        flip = self._flip and bool(rng.integers(2))
        crop = _centre(self._frame_size, self._size)
        if self._random_crop:
            top = int(rng.integers(self._frame_size[0] - self._size[0] + 1))
            left = int(rng.integers(self._frame_size[1] - self._size[1] + 1))
            crop = (top, left, *self._size)
        if self._shuffle_time:
            frames = self._window.shuffled(frames, rng)
        return Plan(int(row), 0, _stilled(frames) if self._still else frames, crop, flip, labels)


class _PairPlanner(grain.transforms.RandomMap):
    """A row to the plans of it and of its partner."""

    def __init__(self, planner: _TrainPlanner, rows: np.ndarray, keys: np.ndarray):
        self._planner = planner
        # Sorted by key, each row's group is a range: the partner's number is drawn in it, around the row's own.
        self._sorted = rows[np.argsort(keys[rows], kind="stable")]
        ordered = keys[self._sorted]
        starts, ends = np.searchsorted(ordered, ordered), np.searchsorted(ordered, ordered, side="right")
        self._group = {
            int(row): (place, int(start), int(end))
            for place, (row, start, end) in enumerate(zip(self._sorted, starts, ends, strict=True))
        }

    def random_map(self, row: int, rng: np.random.Generator) -> list[Plan]:
        place, start, end = self._group[int(row)]
        other = place
        if end - start > 1:
            other = start + int(rng.integers(end - start - 1))
            other += other >= place
        return [self._planner.random_map(int(each), rng) for each in (row, self._sorted[other])]


def _joined(pairs: Sequence[list[Plan]]) -> list[Plan]:
    return [plan for pair in pairs for plan in pair]


def _stilled(frames: np.ndarray) -> np.ndarray:
    return np.broadcast_to(frames[:, :1], frames.shape)


class _Decoder:
    """A list of plans to a batch, decoded in place by a few threads."""

    def __init__(
        self,
        store: VideoStore,
        window: Sampler,
        size: tuple[int, int],
        columns: Sequence[str],
        threads: int | None,
        extra_columns: Mapping[str, np.ndarray] | None,
        cache: FrameCache | None,
        masked: bool = False,
    ):
        self._store, self._cache, self._masked = store, cache, masked
        self._labels = window.labels
        self._shape = (window.num_clips, window.clip_length, *size, 3)
        self._threads = threads or cores()
        extra = extra_columns or {}
        self._columns = {
            name: np.asarray(extra[name], np.float32) if name in extra else _numbers(store, name) for name in columns
        }

    def read_options(self, batch_size: int, buffer_bytes: int) -> grain.ReadOptions:
        buffered = max(1, min(_MAX_BUFFERED, buffer_bytes // (batch_size * int(np.prod(self._shape)))))
        # Batches under way at once: enough for all threads, and one, so that none waits for a batch's last video.
        under_way = 1 + -(-self._threads // batch_size)
        return grain.ReadOptions(num_threads=min(under_way, buffered), prefetch_buffer_size=buffered)

    def __call__(self, plans: list[Plan]) -> Batch:
        rows = np.array([plan.row for plan in plans], np.int32)
        video = np.empty((len(plans), *self._shape), np.uint8)
        list(_pool(self._threads).map(self._read, plans, video))
        batch: Batch = {"video": video, "row": rows}
        if self._masked:
            batch["view"] = np.array([plan.view for plan in plans], np.int32)
            batch["mask"] = (rows >= 0).astype(np.float32)
        for k, name in enumerate(self._labels):
            batch[name] = np.array([plan.labels[k] if plan.row >= 0 else 0 for plan in plans], np.int32)
        for name, values in self._columns.items():
            batch[name] = values[rows]
            batch[name][rows < 0] = 0
        return batch

    def _read(self, plan: Plan, out: np.ndarray) -> None:
        if plan.frames is None:
            out[:] = 0
        else:
            flat = out.reshape(-1, *self._shape[2:])
            frames = plan.frames.reshape(-1)
            self._store.read(plan.row, frames, crop=plan.crop, flip=plan.flip, out=flat, cache=self._cache)


@functools.lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="decode")


def _numbers(store: VideoStore, name: str) -> np.ndarray:
    values = store.table.column(name)
    if values.dtype == object:
        raise DataError(f"column {name!r} is text and cannot go into a batch")
    return values.astype(np.float32)


def _checked(store: VideoStore, rows: np.ndarray, window: Sampler) -> np.ndarray:
    rows = np.asarray(rows)
    if not len(rows):
        raise DataError("no rows to read")
    num_frames = store.table.column("num_frames")[rows]
    short = rows[num_frames < window.window]
    if len(short):
        ids, lengths = store.table.column("id")[short], store.table.column("num_frames")[short]
        listed = ", ".join(f"{id_} ({length})" for id_, length in zip(ids, lengths, strict=True))
        raise DataError(f"{len(short)} videos have fewer frames than the window of {window.window}: {listed}")
    return rows


def _crop_size(store: VideoStore, crop_size: int | tuple[int, int] | None) -> tuple[int, int]:
    size = store.frame_size if crop_size is None else crop_size
    height, width = (size, size) if isinstance(size, int) else size
    if not (0 < height <= store.frame_size[0] and 0 < width <= store.frame_size[1]):
        raise ConfigError(f"a crop of {height}x{width} does not fit into the stored frames of {store.frame_size}")
    return height, width


def _centre(frame_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    return (frame_size[0] - size[0]) // 2, (frame_size[1] - size[1]) // 2, *size
