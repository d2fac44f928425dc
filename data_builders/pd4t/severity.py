"""The severity table: videos and frames by score, videos by split; published, observed, and where they differ."""

from collections.abc import Iterable
from typing import Any

Range = tuple[int, int] | None  # fewest and most frames
Table = dict[str, Any]  # of one task: "videos" [5], "frames" [5] of Range, "train", "test"

TASKS = ("gait", "finger", "hand", "leg")
SCORES = range(5)  # UPDRS: 0 normal .. 4 severe

# The dataset's own figures, by score 0..4; frames as its annotations count them.
PUBLISHED: dict[str, Table] = {
    "gait": {
        "videos": [196, 158, 64, 8, 0],
        "frames": [(325, 980), (580, 1866), (421, 13428), (664, 10688), None],
        "train": 310,
        "test": 116,
    },
    "finger": {
        "videos": [152, 465, 164, 23, 2],
        "frames": [(129, 450), (129, 724), (129, 853), (162, 398), (159, 460)],
        "train": 590,
        "test": 216,
    },
    "hand": {
        "videos": [234, 407, 179, 23, 5],
        "frames": [(131, 334), (136, 571), (150, 717), (197, 648), (220, 648)],
        "train": 621,
        "test": 227,
    },
    "leg": {
        "videos": [407, 376, 54, 11, 3],
        "frames": [(129, 513), (135, 427), (155, 686), (273, 504), (345, 435)],
        "train": 627,
        "test": 224,
    },
}


def observe(rows: Iterable[tuple[str, str, int, int]]) -> dict[str, Table]:
    """The table of rows (task, split, score 0..4, frames), for every task that occurs."""
    found: dict[str, Table] = {}
    for task, split, score, frames in rows:
        table = found.setdefault(task, {"videos": [0] * 5, "frames": [None] * 5, "train": 0, "test": 0})
        table[split] += 1
        table["videos"][score] += 1
        low, high = table["frames"][score] or (frames, frames)
        table["frames"][score] = (min(low, frames), max(high, frames))
    return {task: found[task] for task in TASKS if task in found}


def differences(observed: dict[str, Table], *, counts: bool = True, frames: bool = True) -> list[str]:
    """Where `observed` differs from `PUBLISHED`, a line each; tasks that are not observed are left out."""
    lines = []
    for task, table in observed.items():
        published = PUBLISHED[task]
        if counts:
            for split in ("train", "test"):
                if table[split] != published[split]:
                    lines.append(f"{task}, {split}: {table[split]} videos, published {published[split]}")
            for score in SCORES:
                if table["videos"][score] != published["videos"][score]:
                    found, wanted = table["videos"][score], published["videos"][score]
                    lines.append(f"{task}, score {score}: {found} videos, published {wanted}")
        if frames:
            for score in SCORES:
                if table["frames"][score] != published["frames"][score]:
                    found, wanted = (_range(each["frames"][score]) for each in (table, published))
                    lines.append(f"{task}, score {score}: {found} frames, published {wanted}")
    return lines


def _range(value: Range) -> str:
    return "no" if value is None else f"{value[0]}..{value[1]}"


def text(tables: dict[str, Table]) -> str:
    """The table for people: a line of videos and a line of frames a task."""
    lines = ["  " + "".join(f"{name:>13}" for name in ("score", *SCORES, "train", "test"))]
    for task, table in tables.items():
        cells = [f"{task} videos", *table["videos"], table["train"], table["test"]]
        lines.append("  " + "".join(f"{cell:>13}" for cell in cells))
        cells = ["frames", *("-" if frames is None else _range(frames) for frames in table["frames"])]
        lines.append("  " + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)
