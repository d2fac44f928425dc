"""Videos that show the same pixels: copies, overlapping cuts of one recording, another encoding of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aqa_jax.check.findings import Finding, Video, error, warning
from aqa_jax.check.labels import TEST
from aqa_jax.check.scan import GLANCES

_LEAST_SHARED = 4  # frames: fewer are a coincidence of a still scene
_COMMON = 20  # videos: a frame in more of them is a title
# What another encoding changes in thumbnails is less than this, in grey levels, and moves with the video.
_NEAR = 3.0
_NEAR_CORRELATION = 0.98
_STILL = 0.5  # grey levels: a video that changes less says nothing by how it changes
_BLOCK = 512


def check_duplicates(videos: Sequence[Video], scans: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """A finding for each pair of videos with the same frames, or nearly the same.

    An error where a test video is, for half of the shorter one's frames or more, in another split too.

    Args:
      videos: those that could be decoded.
      scans: what :func:`aqa_jax.check.scan.scan` gave of each.
    """
    found, known = [], set()
    frames = [np.unique(one["hashes"][one["flat"] == 0]) for one in scans]
    for (a, b), shared in sorted(_shared(frames).items()):
        if shared < min(_LEAST_SHARED, len(frames[a]), len(frames[b])):
            continue
        known.add((a, b))
        shorter = min(len(frames[a]), len(frames[b]))
        crosses = TEST in (videos[a].split, videos[b].split) and videos[a].split != videos[b].split
        if shared == len(frames[a]) == len(frames[b]):
            said = "the same pixels as"
        else:
            said = f"{shared} of {len(frames[b])} different frames are those of"
        make = error if crosses and shared >= shorter / 2 else warning
        found.append(make("pixels", f"{said} {_named(videos[a], videos[b])}", *_at(videos[b])))
    for a, b in _near(scans):
        if (a, b) not in known:
            text = f"nearly the same pixels as {_named(videos[a], videos[b])}: another encoding of it?"
            found.append(warning("pixels", text, *_at(videos[b])))
    return found


def _at(video: Video) -> tuple[str, int | None, str]:
    return video.file, video.row, video.id


def _named(one: Video, other: Video) -> str:
    row = "" if one.row is None else f", row {one.row}"
    return f"{one.id} ({one.split}{row}; this one: {other.split})"


def _shared(frames: Sequence[np.ndarray]) -> Counter[tuple[int, int]]:
    """How many different frames each pair of videos has in common; pairs (first, second) of positions."""
    pairs: Counter[tuple[int, int]] = Counter()
    if not frames:
        return pairs
    hashes = np.concatenate(frames)
    owners = np.repeat(np.arange(len(frames)), [len(some) for some in frames])
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]]) if len(hashes) else np.zeros(0, int)
    ends = np.r_[starts[1:], len(hashes)]
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        if end - start <= _COMMON:
            some = owners[start:end].tolist()
            pairs.update((a, b) for k, a in enumerate(some) for b in some[k + 1 :])
    return pairs


def _near(scans: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Pairs of videos that look the same from afar, at the same moments."""
    usable = [k for k, one in enumerate(scans) if len(one["glances"]) == GLANCES]
    if len(usable) < 2:
        return []
    looks = np.stack([scans[k]["glances"].reshape(GLANCES, -1) for k in usable]).astype(np.float32)
    moves = looks - looks.mean(1, keepdims=True)
    looks, moves = looks.reshape(len(usable), -1), moves.reshape(len(usable), -1)
    strength = np.linalg.norm(moves, axis=1)
    moving = strength / np.sqrt(moves.shape[1]) > _STILL
    directions = moves / np.maximum(strength, 1e-6)[:, None]
    squares = (looks**2).sum(1)
    found = []
    for start in range(0, len(usable), _BLOCK):
        part = slice(start, start + _BLOCK)
        gap = squares[part, None] + squares[None] - 2 * looks[part] @ looks.T
        rms = np.sqrt(np.maximum(gap, 0) / looks.shape[1])
        alike = directions[part] @ directions.T > _NEAR_CORRELATION
        near = (rms < _NEAR) & alike & moving[part, None] & moving[None]
        for a, b in np.argwhere(near):
            if start + a < b:
                found.append((usable[start + a], usable[b]))
    return found
