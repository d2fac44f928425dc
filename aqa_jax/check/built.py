"""A built dataset, looked at whole: every record, every frame, the table, and what a config makes of it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tqdm import tqdm

from aqa_jax.check.duplicates import check_duplicates
from aqa_jax.check.findings import Finding, Video, error
from aqa_jax.check.labels import check_labels
from aqa_jax.check.scan import scan
from aqa_jax.data import cores
from aqa_jax.data.records import FRAMES_PER_RECORD
from aqa_jax.data.video_store import REMEDY, VideoStore
from aqa_jax.errors import DataError


def videos_of(store: VideoStore) -> list[Video]:
    """The rows of the table."""
    table, directory = store.metadata["table"], str(store.directory)
    columns = zip(*(table[name] for name in ("id", "split", "group", "score", "difficulty", "judges")), strict=True)
    return [
        Video(id_, split, str(group), score, difficulty, tuple(judges or ()), directory, row)
        for row, (id_, split, group, score, difficulty, judges) in enumerate(columns)
    ]


def check_built(
    store: VideoStore,
    *,
    needed: int,
    excluded: Sequence[str] = (),
    groups_apart: bool = True,
    threads: int | None = None,
) -> list[Finding]:
    """What is wrong with a dataset on disk; excluded videos are not looked at.

    Args:
      store: the dataset.
      needed: frames that a video must have.
      excluded: ids.
      groups_apart: whether a group of test videos must be in no other split.
      threads: that decode; by default one a core.
    """
    whole = videos_of(store)
    videos = [video for video in whole if video.id not in excluded]
    metadata = store.metadata
    splits = {video.split for video in whole}
    labelled = {video.split for video in whole if video.score is not None}
    limits = metadata.get("score_range")
    found = check_labels(
        videos, score_range=(limits[0], limits[1]) if limits else None, rule=metadata.get("judge_rule", "none"),
        unlabelled=sorted(splits - labelled), groups_apart=groups_apart,
    )  # fmt: skip
    with ThreadPoolExecutor(threads or cores()) as pool:
        looked = pool.map(lambda video: _look(store, video, needed), videos)
        bar = tqdm(looked, total=len(videos), desc="decoding the built dataset", unit="video", disable=None)
        results = list(bar)
    for faults, _ in results:
        found += faults
    whole_ones = [(video, one) for video, (_, one) in zip(videos, results, strict=True) if one is not None]
    found += check_duplicates([video for video, _ in whole_ones], [one for _, one in whole_ones])
    if not any(one.kind in ("video", "count") for one in found):
        try:
            store.verify()
        except DataError as fault:
            found.append(error("built", str(fault), store.directory))
    return found


def _look(store: VideoStore, video: Video, needed: int) -> tuple[list[Finding], dict[str, Any] | None]:
    """The faults of a video's frames, and its scan where it has none."""
    row = video.row
    assert row is not None
    claimed = int(store.table.column("num_frames")[row])
    at = (video.file, video.row, video.id)
    found = []
    if claimed < needed:
        found.append(error("short", f"{claimed} frames, where {needed} are needed", *at))
    broken: list[str] = []

    def frames() -> Iterator[np.ndarray]:
        for start in range(0, claimed, FRAMES_PER_RECORD):
            try:
                yield from store.read(row, np.arange(start, min(start + FRAMES_PER_RECORD, claimed)))
            except DataError as fault:
                broken.append(str(fault).removesuffix(f". {REMEDY}").removeprefix(f"{store.directory}: "))

    looks = scan(frames())
    if broken:
        records = -(-claimed // FRAMES_PER_RECORD)
        return [*found, error("video", f"{len(broken)} of {records} records: {broken[0]}", *at)], None
    if (stored := store.stored_frames(row)) != claimed:
        return [*found, error("count", f"{stored} frames stored, the table says {claimed}", *at)], None
    return found, looks
