"""Labels against each other: ids, scores, difficulties, judges, and who is on which side of the test."""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aqa_jax.check.findings import Finding, Video, error, warning

TOLERANCE = 0.05 + 1e-6  # a published score may be rounded; the slack keeps float error from deciding
TEST = "test"


@dataclass(frozen=True)
class Rule:
    """How a panel's marks give the score.

    Attributes:
      marks: how many.
      low: the least mark.
      high: the greatest.
      score: marks and difficulty to score.
      needs_difficulty: whether a video must have one.
    """

    marks: int
    low: float
    high: float
    score: Callable[[Sequence[float], float], float]
    needs_difficulty: bool = False


RULES = {
    "middle3_times_difficulty": Rule(7, 0, 10, lambda marks, factor: sum(sorted(marks)[2:5]) * factor, True),
    "sum": Rule(6, 1, 5, lambda marks, factor: sum(marks)),
}
"""By the name that a dataset's metadata have as judge_rule."""


def check_labels(
    videos: Sequence[Video],
    *,
    score_range: tuple[float, float] | None = None,
    rule: str = "none",
    unlabelled: Sequence[str] = (),
    groups_apart: bool = True,
) -> list[Finding]:
    """What is wrong with the labels of a dataset's videos, in the order of the videos.

    Args:
      videos: all of them.
      score_range: the least and the greatest score that there can be.
      rule: a key of `RULES`; any other: marks are not compared with scores.
      unlabelled: splits whose videos have no score.
      groups_apart: whether a group of test videos must be in no other split.
    """
    found = _repeated(videos)
    for video in videos:
        found += _score(video, score_range, video.split in unlabelled)
        found += _marks(video, RULES.get(rule))
    if groups_apart:
        found += _groups(videos)
    return found


def _at(video: Video) -> tuple[str, int | None, str]:
    return video.file, video.row, video.id


def _number(value: object) -> bool:
    # False for NaN, infinity and whole numbers that no float can hold.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _repeated(videos: Sequence[Video]) -> list[Finding]:
    first: dict[str, Video] = {}
    found = []
    for video in videos:
        before = first.setdefault(video.id, video)
        if before is not video:
            where = "" if before.row is None else f" ({before.file}, row {before.row})"
            split = f", in {before.split} and in {video.split}" if before.split != video.split else ""
            found.append(error("id", f"{video.id} is there already{where}{split}", *_at(video)))
    return found


def _score(video: Video, score_range: tuple[float, float] | None, unlabelled: bool) -> list[Finding]:
    if video.score is None:
        return [] if unlabelled else [error("label", "no score", *_at(video))]
    if unlabelled:
        return [error("label", f"a score of {video.score} in the unlabelled split {video.split}", *_at(video))]
    if not _number(video.score):
        return [error("label", f"the score is {video.score!r}, not a number", *_at(video))]
    if score_range and not score_range[0] <= video.score <= score_range[1]:
        low, high = score_range
        return [error("label", f"the score is {video.score:g}, not from {low:g} to {high:g}", *_at(video))]
    return []


def _marks(video: Video, rule: Rule | None) -> list[Finding]:
    at = _at(video)
    if video.difficulty is not None and not (_number(video.difficulty) and video.difficulty > 0):
        return [error("difficulty", f"the difficulty is {video.difficulty!r}, not a positive number", *at)]
    if wrong := [mark for mark in video.judges if not _number(mark)]:
        return [error("judges", f"a mark is {wrong[0]!r}, not a number", *at)]
    if rule is None:
        return []
    if rule.needs_difficulty and video.difficulty is None:
        return [error("difficulty", "no difficulty", *at)]
    if not video.judges:
        return []
    if wrong := [mark for mark in video.judges if not rule.low <= mark <= rule.high]:
        return [error("judges", f"a mark is {wrong[0]:g}, not from {rule.low:g} to {rule.high:g}", *at)]
    if len(video.judges) != rule.marks:
        return [error("judges", f"{len(video.judges)} marks, where a panel has {rule.marks}", *at)]
    if not _number(video.score):
        return []
    assert video.score is not None
    expected = rule.score(video.judges, 1.0 if video.difficulty is None else video.difficulty)
    if abs(expected - video.score) > TOLERANCE:
        return [warning("judges", f"the score is {video.score:g}, the marks give {expected:.4g}", *at)]
    return []


def _groups(videos: Sequence[Video]) -> list[Finding]:
    """A finding for each group on both sides, at its first test video."""
    by_group: dict[str, list[Video]] = defaultdict(list)
    for video in videos:
        by_group[video.group].append(video)
    found = []
    for group, some in by_group.items():
        counts = Counter(video.split for video in some)
        if TEST in counts and len(counts) > 1:
            first = next(video for video in some if video.split == TEST)
            said = ", ".join(f"{count} in {split}" for split, count in counts.items())
            rows = " and ".join(
                f"{one.id} ({one.split}{'' if one.row is None else f', row {one.row}'})"
                for one in {video.split: video for video in reversed(some)}.values()
            )
            found.append(error("group", f"{group!r} has videos {said}: for instance {rows}", *_at(first)))
    return found
