"""MTL-AQA's annotation files: find, read, check and correct them."""

import math
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
    path = _find(raw_dir, file)
    dives = _read_dives(path)
    splits = {name: _read_split(path.parent / split_file) for name, split_file in SPLIT_FILES.items()}
    _check_splits(splits, dives, path)
    excluded = _excluded(exclude or [], splits)
    splits = {name: [key for key in keys if dive_id(key) not in excluded] for name, keys in splits.items()}
    used = {key: dives[key] for keys in splits.values() for key in keys}
    corrected = _correct_judges(used)
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


def _find(raw_dir: Path, file: str) -> Path:
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


def _read_dives(path: Path) -> dict[Key, dict[str, Any]]:
    raw = safe_pickle.load(path)
    needed = {"end_frame", "start_frame", "final_score", "difficulty"}
    if not isinstance(raw, dict) or not all(isinstance(dive, dict) and needed <= set(dive) for dive in raw.values()):
        raise DataError(f"{path}: not MTL-AQA's annotations (a dict of dicts with {', '.join(sorted(needed))})")
    dives = {}
    for key, dive in raw.items():
        plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in dive.items()}
        plain["judge_scores"] = [float(judge) for judge in plain.get("judge_scores") or []]
        dives[_key(key, path)] = plain
    return dives


def _key(key: Any, path: Path) -> Key:
    try:
        video, dive = key
        return int(video), int(dive)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {key!r} is not a (video, dive) pair") from error


def _read_split(path: Path) -> list[Key]:
    if not path.is_file():
        raise DataError(f"no split file {path}; the train and test lists lie beside the annotations")
    return [_key(key, path) for key in safe_pickle.load(path)]


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


def _correct_judges(dives: dict[Key, dict[str, Any]]) -> list[dict[str, Any]]:
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
        "a judge is outside 0-10",
        [k for k, dive in dives.items() if not all(0 <= judge <= 10 for judge in dive["judge_scores"])],
    )


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _inconsistent(dives: dict[Key, dict[str, Any]], where: dict[Key, str]) -> list[dict[str, Any]]:
    """Dives whose score is not difficulty times the sum of the middle three of seven judges."""
    found = []
    for key in sorted(dives):
        dive = dives[key]
        if len(dive["judge_scores"]) == 7:
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
