"""JIGSAWS's gestures: which of the surgical vocabulary is being done from which frame to which."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aqa_jax.check.findings import Finding, error
from aqa_jax.errors import DataError

from .annotations import PARENTS

Gesture = tuple[int, int, str]  # first and last frame of the video (30 Hz), as annotated, and G1, G2, ...
_NAME = re.compile(r"G[1-9]\d*")


@dataclass(frozen=True)
class Transcriptions:
    """Gestures by trial, and what is missing or left over where there is a folder of transcriptions at all."""

    of: dict[str, list[Gesture]]
    folders: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    without_trial: tuple[str, ...] = ()


def load(raw_dir: Path, trials: Sequence[str], tasks: Sequence[str], left_out: Sequence[str] = ()) -> Transcriptions:
    """Reads ``<task>/transcriptions/<trial>.txt``, lines of first frame, last frame and gesture.

    Args:
      raw_dir: folder of the raw data.
      trials: ids of the labelled trials.
      tasks: of which transcriptions are looked for.
      left_out: ids that are left out on purpose, and so not reported.

    Raises:
      DataError: lines that cannot be read; all are named.
    """
    bad: list[Finding] = []
    transcriptions = read(raw_dir, trials, tasks, bad, left_out)
    if bad:
        lines = [str(one) for one in bad]
        raise DataError("\n  ".join([f"JIGSAWS: {len(bad)} faults in the transcriptions:", *lines]))
    return transcriptions


def read(
    raw_dir: Path, trials: Sequence[str], tasks: Sequence[str], bad: list[Finding], left_out: Sequence[str] = ()
) -> Transcriptions:
    """As :func:`load`; lines that cannot be read go into `bad`."""
    found: dict[str, list[Gesture]] = {}
    missing: list[str] = []
    left_over: list[str] = []
    folders = []
    for task in tasks:
        candidates = [raw_dir / parent / task / "transcriptions" for parent in PARENTS]
        folder = next((path for path in candidates if path.is_dir()), None)
        if folder is None:
            continue
        folders.append(str(folder.relative_to(raw_dir)))
        files = {path.stem: path for path in sorted(folder.glob("*.txt"))}
        wanted = [id_ for id_ in trials if id_.startswith(task)]
        for id_ in wanted:
            if id_ in files:
                found[id_] = _read(files[id_], bad)
        missing += [id_ for id_ in wanted if not found.get(id_)]
        left_over += [id_ for id_ in files if id_ not in wanted and id_ not in left_out]
    return Transcriptions(found, tuple(folders), tuple(missing), tuple(left_over))


def to_text(gestures: Sequence[Gesture]) -> str:
    """``[[80, 142, "G1"], ...]``, or "" where there are none."""
    return json.dumps([list(gesture) for gesture in gestures]) if gestures else ""


def from_text(text: str) -> list[Gesture]:
    """What :func:`to_text` wrote."""
    return [(first, last, name) for first, last, name in json.loads(text or "[]")]


def beyond(text: str, num_frames: int) -> list[Gesture]:
    """The gestures that end after the video's last frame; frames are numbered from 0 or 1."""
    return [gesture for gesture in from_text(text) if gesture[1] > num_frames]


def _read(path: Path, bad: list[Finding]) -> list[Gesture]:
    gestures: list[Gesture] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        fault = ""
        if len(words) != 3:
            fault = f"{len(words)} words, where there are three: first frame, last frame, gesture"
        elif not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words[:2]):
            fault = f"{words[0]!r} and {words[1]!r} are not two frame numbers"
        elif int(words[1]) < int(words[0]):
            fault = f"the gesture ends at frame {words[1]}, before it starts at {words[0]}"
        elif not _NAME.fullmatch(words[2]):
            fault = f"the gesture is {words[2]!r}, not G1, G2, ..."
        elif gestures and int(words[0]) < gestures[-1][0]:
            fault = f"the gesture starts at frame {words[0]}, before the one above it"
        else:
            gestures.append((int(words[0]), int(words[1]), words[2]))
        if fault:
            bad.append(error("line", fault, path, number, path.stem))
    return gestures
