"""Raw data before a build: annotations as a whole, every video decoded, and what a built dataset says of them."""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from aqa_jax.check import scan
from aqa_jax.check.duplicates import check_duplicates
from aqa_jax.check.findings import Finding, Video, error, from_refusal, warning
from aqa_jax.check.labels import check_labels
from aqa_jax.check.recorded import check_recorded
from aqa_jax.data import cores
from aqa_jax.data.builder import VideoDatasetBuilder
from aqa_jax.data.encode import JPEG_DAMAGE
from aqa_jax.errors import AqaError, DataError
from aqa_jax.predict.sandbox import Sandbox

SECONDS = 3600.0  # of one video: some have ten thousand frames
_HARMLESS = re.compile(r"\[OPENCV:FFMPEG:(2[4-9]|[3-9]\d)\]")  # warnings and less


def check_raw(
    builder: VideoDatasetBuilder, raw_dir: Path, *, built: Sequence[Video] | None = None, threads: int | None = None
) -> tuple[list[Finding], int]:
    """What is wrong with the raw data of a builder, and how many videos were decoded.

    Args:
      builder: which has built nothing yet.
      raw_dir: its raw data.
      built: the videos of the dataset that was built before, to be compared.
      threads: that decode, in processes of their own; by default one a core.
    """
    found, videos = check_annotations(builder, raw_dir)
    if raw_dir.is_dir():
        found += check_recorded(raw_dir, videos, threads=threads)
    if videos is None:
        return found, 0
    there = [video for video in videos if video.path]
    with Sandbox(SECONDS) as sandbox, ThreadPoolExecutor(threads or cores()) as pool:
        looked = pool.map(lambda video: _look(sandbox, video), there)
        bar = tqdm(looked, total=len(there), desc="decoding the raw videos", unit="video", disable=None)
        results = list(bar)
    for faults, _ in results:
        found += faults
    whole = [(video, one) for video, (_, one) in zip(there, results, strict=True) if one is not None]
    found += check_duplicates([video for video, _ in whole], [one for _, one in whole])
    if built is not None:
        found += _differences(videos, built)
    return found, len(there)


def check_annotations(builder: VideoDatasetBuilder, raw_dir: Path) -> tuple[list[Finding], list[Video] | None]:
    """The part of `check_raw` that opens no video: what is wrong, and the videos; None: the builder cannot tell."""
    found: list[Finding] = []
    try:
        os.listdir(raw_dir)
    except OSError as fault:
        return [error("file", f"cannot be looked into ({fault.strerror})", raw_dir)], None
    builder.raw_dir = raw_dir
    try:
        videos = builder.raw_videos(found)
    except OSError as fault:
        return [*found, error("file", f"cannot be read ({fault.strerror})", fault.filename or raw_dir)], None
    except AqaError as fault:
        return [*found, *from_refusal(fault, raw_dir)], None
    if videos is None:
        return _as_built(builder, raw_dir), None
    labelled = {video.split for video in videos if video.score is not None}
    found += check_labels(
        videos, score_range=builder.SCORE_RANGE, rule=builder.JUDGE_RULE, groups_apart=groups_apart(builder),
        unlabelled=sorted({video.split for video in videos} - labelled),
    )  # fmt: skip
    return found, videos


def groups_apart(builder: VideoDatasetBuilder) -> bool:
    """Whether the groups of test videos must be in no other split: not where a builder's option leak allows it."""
    return builder.GROUPS_APART and builder.builder_config.options().get("leak") != "allow"


def _as_built(builder: VideoDatasetBuilder, raw_dir: Path) -> list[Finding]:
    """For a builder that cannot list its faults: those at which its build would stop."""
    try:
        builder._find_raw_data(raw_dir)
        for split in builder.SPLITS:
            builder.video_specs(split)
    except AqaError as fault:
        return from_refusal(fault, raw_dir)
    return []


def _look(sandbox: Sandbox, video: Video) -> tuple[list[Finding], dict[str, Any] | None]:
    """The faults of a video's frames, and its scan where it could be decoded."""
    at = (video.file, video.row, video.id)
    try:
        if video.names:
            result, messages = sandbox.call_listening(scan.scan_images, video.path, video.names)
        else:
            result, messages = sandbox.call_listening(scan.scan_file, video.path)
    except DataError as fault:
        return [error("video", str(fault), *at)], None
    found = []
    if complaints := [line for line in messages if line.strip() and not _HARMLESS.match(line)]:
        found.append(_complaint(sandbox, video, complaints))
    count = len(result["hashes"])
    if count < video.needed:
        found.append(error("short", f"{count} frames, where {video.needed} are needed ({video.path})", *at))
    if video.claimed and count != video.claimed:
        text = f"{count} frames can be decoded, {video.claimed} are annotated ({video.path})"
        found.append(warning("count", text, *at))
    return found, result


def _complaint(sandbox: Sandbox, video: Video, lines: Sequence[str]) -> Finding:
    """What a decoder said of a video that it decoded."""
    at, where = (video.file, video.row, video.id), video.path
    if not any(sign in line for sign in JPEG_DAMAGE for line in lines):
        return warning("video", f"the decoder says: {lines[0]} ({where})", *at)
    for name in video.names:
        path = os.path.join(video.path, name)
        if sandbox.call_listening(scan.look_at_image, path)[1]:
            where = path
            break
    return error("video", f"damaged inside, though it can be decoded: {lines[0]} ({where})", *at)


def _differences(videos: Sequence[Video], built: Sequence[Video]) -> list[Finding]:
    """Where the dataset that was built is not what the raw data say now."""
    now = {video.id: video for video in videos}
    found = []
    for before in built:
        after = now.pop(before.id, None)
        at = (before.file, before.row, before.id)
        if after is None:
            found.append(error("built", "in the dataset, but not in the raw data", *at))
            continue
        for name in ("split", "group", "score", "difficulty", "judges"):
            was, is_ = getattr(before, name), getattr(after, name)
            if was != is_:
                text = f"{name}: {was} in the dataset, {is_} in the raw data ({after.file}, row {after.row})"
                found.append(error("built", text, *at))
    found += [
        warning("built", "in the raw data, but not in the dataset", video.file, video.row, video.id)
        for video in now.values()
    ]
    return found
