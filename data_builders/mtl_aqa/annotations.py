"""MTL-AQA's annotation files: find, read, check and correct them."""

import math
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aqa_jax import safe_pickle
from aqa_jax.errors import DataError

Key = tuple[int, int]  # (video, dive)

# The richest first: CoRe's, MUSDL's, the original release's.
FILES = (
    "final_annotations_dict_with_dive_number.pkl",
    "augmented_final_annotations_dict.pkl",
    "final_annotations_dict.pkl",
)
SPLIT_FILES = {"train": "train_split_0.pkl", "test": "test_split_0.pkl"}
FOLDERS = (
    "",
    "info",
    "annotations",
    "data/info",
    "MTL-AQA/info",
    "MTL-AQA/data/info",
    "MTL-AQA_dataset_release/Ready_2_Use/MTL-AQA_split_0_data",
    "Ready_2_Use/MTL-AQA_split_0_data",
)
# MUSDL's file has a judge of 45.0 where CoRe's has 4.5.
CORRECTED_JUDGES = {((4, 49), 3): (45.0, 4.5)}
# A published score may be rounded; the slack keeps float error from deciding at exactly .05.
SCORE_TOLERANCE = 0.05 + 1e-6
WINDOW = 103
PANEL = 7
SCORE_RANGE = (0.0, 104.5)
WHOLE_NUMBERS = ("start_frame", "end_frame", "position", "armstand", "rotation_type", "ss_no", "tw_no")
NEEDED = ("final_score", "difficulty", *WHOLE_NUMBERS)


def dive_id(key: Key) -> str:
    """(4, 49) -> "04_49", the name of its folder of frames."""
    return f"{key[0]:02d}_{key[1]:02d}"


@dataclass
class Annotations:
    """Checked annotations: one dict a dive, the two published splits, and what was found on the way."""

    file: Path
    dives: dict[Key, dict[str, Any]]
    splits: dict[str, list[Key]]
    traps: dict[str, Any] = field(default_factory=dict)


def load(
    raw_dir: Path, *, file: str = "", exclude: list[str] | None = None, require_judges: bool = False
) -> Annotations:
    """Read the annotations below `raw_dir`.

    Args:
      raw_dir: folder of the raw data.
      file: path of the annotation file below `raw_dir`; empty: the richest that is found.
      exclude: ids ("04_49") to leave out.
      require_judges: refuse a file without the judges' scores.

    Raises:
      DataError: a file is missing; ids repeat; a score is no number; judges are missing or impossible.
    """
    path = find_file(raw_dir, file)
    dives = _read_dives(path, exclude or [])
    splits = {name: _read_split(path.parent / split_file) for name, split_file in SPLIT_FILES.items()}
    _check_splits(splits, dives, path)
    excluded = _excluded(exclude or [], splits)
    splits = {name: [key for key in keys if dive_id(key) not in excluded] for name, keys in splits.items()}
    used = {key: dives[key] for keys in splits.values() for key in keys}
    corrected = correct_judges(used)
    _check_values(used, path, require_judges)
    where = {key: name for name, keys in splits.items() for key in keys}
    traps = {
        "corrected_judges": corrected,
        "inconsistent_scores": _inconsistent(used, where),
        "zero_scores": [dive_id(key) for key in sorted(used) if used[key]["final_score"] == 0],
        "annotated_shorter_than_window": sum(
            dive["end_frame"] - dive["start_frame"] < WINDOW for dive in used.values()
        ),
        "annotated_but_in_no_split": [
            dive_id(key) for key in sorted(set(dives) - set(where)) if dive_id(key) not in excluded
        ],
        "excluded": sorted(excluded),
    }
    return Annotations(path, used, splits, traps)


def find_file(raw_dir: Path, file: str) -> Path:
    """The annotation file `file` below `raw_dir`, or the richest that is found; DataError if there is none."""
    if file:
        if not (raw_dir / file).is_file():
            raise DataError(f"no annotation file {raw_dir / file}")
        return raw_dir / file
    for name in FILES:
        for folder in FOLDERS:
            if (raw_dir / folder / name).is_file():
                return raw_dir / folder / name
    raise DataError(
        f"no annotation file in {raw_dir}: looked for {', '.join(FILES)} in it "
        f"and in {', '.join(FOLDERS[1:])}; name it with the option annotation_file"
    )


def read_raw(path: Path) -> dict[Any, dict[str, Any]]:
    """The annotations as the file has them, arrays as lists.

    Raises:
      DataError: it is not MTL-AQA's, or it cannot be read.
    """
    raw = safe_pickle.load(path)
    if not isinstance(raw, dict) or not raw or not all(isinstance(dive, dict) for dive in raw.values()):
        raise DataError(f"{path}: not MTL-AQA's annotations (a dict of dicts with {', '.join(NEEDED)})")
    return {
        key: {name: value.tolist() if hasattr(value, "tolist") else value for name, value in dive.items()}
        for key, dive in raw.items()
    }


def fault_of(dive: dict[str, Any]) -> str:
    """What keeps an annotation from being read, or nothing: fields that are missing or of another kind."""
    if missing := [name for name in NEEDED if name not in dive]:
        return f"no {', '.join(missing)}"
    if wrong := [name for name in WHOLE_NUMBERS if not _whole(dive[name])]:
        return f"{wrong[0]} is {_shown(dive[wrong[0]])}, not a whole number"
    judges = dive.get("judge_scores")
    if judges is not None and not (isinstance(judges, list) and all(map(_is_number, judges))):
        return f"judge_scores is {_shown(judges)}, not a list of numbers"
    return ""


def _read_dives(path: Path, exclude: list[str]) -> dict[Key, dict[str, Any]]:
    """Every entry; of those to `exclude` that cannot be read only the key."""
    dives: dict[Key, dict[str, Any]] = {}
    faults = []
    for number, (raw_key, dive) in enumerate(read_raw(path).items(), start=1):
        key = parse_key(raw_key, path)
        if key in dives:
            raise DataError(f"{path}, entry {number}: {dive_id(key)} is there already")
        fault = fault_of(dive)
        if fault and dive_id(key) not in exclude:
            faults.append(f"entry {number}, {dive_id(key)}: {fault}")
        dives[key] = {} if fault else {**dive, "judge_scores": list(map(float, dive.get("judge_scores") or []))}
    if faults:
        raise DataError(
            "\n  ".join([f"{path}: {len(faults)} annotations cannot be read:", *faults])
            + "\nCorrect the file, or leave dives of the splits out with the option exclude."
        )
    return dives


def parse_key(key: Any, path: Path) -> Key:
    """A (video, dive) pair as a file has it; DataError for anything else."""
    try:
        video, dive = key
        return int(video), int(dive)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: {key!r} is not a (video, dive) pair") from error


def read_split(path: Path) -> list[Any]:
    """The keys of a split as its file has them; DataError if it is no list, or cannot be read."""
    if not path.is_file():
        raise DataError(f"no split file {path}; the train and test lists lie beside the annotations")
    keys = safe_pickle.load(path)
    if not isinstance(keys, list | tuple) or not keys:
        raise DataError(f"{path}: not a list of (video, dive) pairs")
    return list(keys)


def _read_split(path: Path) -> list[Key]:
    return [parse_key(key, path) for key in read_split(path)]


def _check_splits(splits: dict[str, list[Key]], dives: dict[Key, Any], path: Path) -> None:
    counts = Counter(key for keys in splits.values() for key in keys)
    if repeated := [key for key, count in counts.items() if count > 1]:
        where = {key: [name for name, keys in splits.items() if key in keys] for key in repeated}
        listed = ", ".join(f"{dive_id(key)} ({' and '.join(where[key])})" for key in sorted(repeated))
        raise DataError(f"{path.parent}: dives listed more than once in the splits: {listed}")
    if unknown := sorted(key for key in counts if key not in dives):
        raise DataError(f"{path}: no annotation for {', '.join(map(dive_id, unknown))}, which the splits list")


def _excluded(exclude: list[str], splits: dict[str, list[Key]]) -> set[str]:
    known = {dive_id(key) for keys in splits.values() for key in keys}
    if unknown := sorted(set(exclude) - known):
        raise DataError(f"option exclude: no dives {', '.join(unknown)} (ids look like 04_49)")
    return set(exclude)


def correct_judges(dives: dict[Key, dict[str, Any]]) -> list[dict[str, Any]]:
    """Corrects the marks that are known to be wrong, in place; what was corrected."""
    corrected = []
    for (key, judge), (wrong, right) in CORRECTED_JUDGES.items():
        judges = dives.get(key, {}).get("judge_scores", [])
        if judge < len(judges) and judges[judge] == wrong:
            judges[judge] = right
            corrected.append({"id": dive_id(key), "judge": judge, "from": wrong, "to": right})
    return corrected


def _check_values(dives: dict[Key, dict[str, Any]], path: Path, require_judges: bool) -> None:
    def refuse(what: str, bad: list[Key]) -> None:
        if bad:
            listed = ", ".join(map(dive_id, sorted(bad)))
            raise DataError(f"{path}: {what}: {listed}; correct the file or leave them out with the option exclude")

    refuse("the score is not a number", [k for k, dive in dives.items() if not _finite(dive["final_score"])])
    low, high = SCORE_RANGE
    refuse(
        f"the score is outside {low:g}-{high:g}",
        [k for k, dive in dives.items() if not low <= dive["final_score"] <= high],
    )
    refuse(
        "the difficulty is not a positive number",
        [k for k, dive in dives.items() if not _finite(dive["difficulty"]) or dive["difficulty"] <= 0],
    )
    without = [key for key, dive in dives.items() if not dive["judge_scores"]]
    if require_judges and without:
        raise DataError(
            f"{path}: {len(without)} of {len(dives)} dives have no judge scores, "
            f"and the option require_judges is set; use {FILES[1]} (MUSDL) or {FILES[0]} (CoRe)"
        )
    refuse(
        f"there are not {PANEL} judges",
        [k for k, dive in dives.items() if dive["judge_scores"] and len(dive["judge_scores"]) != PANEL],
    )
    refuse(
        "a judge is outside 0-10",
        [k for k, dive in dives.items() if not all(0 <= judge <= 10 for judge in dive["judge_scores"])],
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _is_number(value: Any) -> bool:
    """Whether a float, NaN and infinity included, or a whole number that a float can hold."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, float)


def _finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return _finite(value) and value == int(value)


def _inconsistent(dives: dict[Key, dict[str, Any]], where: dict[Key, str]) -> list[dict[str, Any]]:
    """Dives whose score is not difficulty times the sum of the middle three of seven judges."""
    found = []
    for key in sorted(dives):
        dive = dives[key]
        if len(dive["judge_scores"]) == PANEL:
            expected = sum(sorted(dive["judge_scores"])[2:5]) * dive["difficulty"]
            if abs(expected - dive["final_score"]) > SCORE_TOLERANCE:
                found.append(
                    {
                        "id": dive_id(key),
                        "split": where[key],
                        "score": dive["final_score"],
                        "from_judges": round(expected, 2),
                    }
                )
    return found
