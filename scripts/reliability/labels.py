"""Damaged annotation files: is every fault found, with its file and row, and is a build refused in words?

Small raw data in the layouts of MTL-AQA, PD4T and JIGSAWS, and a folder of videos, get one to three faults: repeated,
missing, unreadable and impossible entries, NaN, other encodings, empty and cut files, videos and patients on both sides
of the test.
"""

import os
import pickle
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import common
import numpy as np
from label_faults import Expected, Folder, Jigsaws, MtlAqa, Pd4t, Rng, pick, picture

from aqa_jax.check.findings import errors, from_refusal
from aqa_jax.check.raw import check_annotations
from aqa_jax.data import build
from aqa_jax.errors import AqaError, DataError


def _missing(path: Path) -> list[Expected]:
    """Without MUSDL's folds the published ones are used; every other file must be there, by whatever name."""
    return [] if path.name == "splits.pkl" else [Expected("*", None)]


def spoil(path: Path, rng: Rng) -> tuple[str, list[Expected]]:
    """One file as a whole: damaged, or only of another form."""
    data, whole = path.read_bytes(), [Expected(path.name, None)]
    kind = pick(rng, "empty", "cut", "missing", "folder", "other", "bom", "crlf")
    text = path.suffix != ".pkl"
    if kind == "empty":
        path.write_bytes(b" \n\n" if text and rng.integers(2) else b"")
    elif kind == "missing":
        path.unlink()
        whole = _missing(path)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
        whole = _missing(path)
    elif kind == "cut" and not text:
        path.write_bytes(data[: int(rng.integers(1, len(data) - 1))])
    elif kind in ("bom", "crlf") and text:  # Nothing is wrong with these.
        path.write_bytes(b"\xef\xbb\xbf" + data if kind == "bom" else data.replace(b"\n", b"\r\n"))
        whole = []
    elif text:
        path.write_bytes(data.decode().encode("utf-16"))
        whole = [Expected(path.name, None)]
    else:
        path.write_bytes(pickle.dumps([1, 2, 3] if path.name.startswith(("aug", "label", "splits")) else {"a": 1}, 2))
    return kind, whole


FAMILIES: list[Callable[[Path, Rng], Any]] = [
    MtlAqa,
    lambda raw, rng: Pd4t(raw, rng, "videos"),
    lambda raw, rng: Pd4t(raw, rng, "frames"),
    lambda raw, rng: Jigsaws(raw, rng, "meta"),
    lambda raw, rng: Jigsaws(raw, rng, "pickle"),
    Folder,
]


def try_one(number: int, seed: int, folder: Path) -> tuple[str, str]:
    """(what came of it, in words what was wrong) of one case."""
    rng = np.random.default_rng((seed, number))
    raw = folder / "raw"
    shutil.rmtree(folder, ignore_errors=True)
    picture(raw)
    family = FAMILIES[number % len(FAMILIES)](raw, rng)
    expected: list[Expected] = []
    kind = "entries"
    if number // len(FAMILIES) % 4 < 3:
        taken: set[int] = set()
        for _ in range(int(rng.integers(1, 4))):
            expected += family.fault(rng, taken)
        family.write(raw)
    else:
        family.write(raw)
        kind, expected = spoil(pick(rng, *family.files(raw)), rng)
        if isinstance(family, Folder):  # It reads what spreadsheets write, UTF-16 too, and names the folder.
            expected = [] if kind in ("cut", "other") else [Expected("*", None) for _ in expected]
    options = {"data_dir": folder / "data", "raw_dir": raw, "options": family.options}
    try:
        found, _ = check_annotations(build.make_builder(family.builder, **options), raw)
    except DataError as fault:  # A folder's table says where its dataset is: it is read first.
        found = from_refusal(fault, raw)
    places = {(Path(one.file).name, one.row) for one in found if one.level == "error"}
    files = {name for name, _ in places}
    for file, row in expected:
        if file == "*":
            there = bool(places) if row is None else row in {place for _, place in places}
        else:
            there = file in files if row is None else (file, row) in places
        if not there:
            return "missed", f"{number}: {type(family).__name__} {kind}: {file} row {row}: {sorted(map(str, found))}"
    if not expected and errors(found):
        return "false alarm", f"{number}: {type(family).__name__} {kind}: {[str(one) for one in found]}"
    try:
        build.build(family.builder, **options, workers=0)
    except AqaError:
        return ("found", "") if expected else ("refused without a fault", f"{number}: {kind}")
    except Exception as error:
        return (
            "build raised another error",
            f"{number}: {type(family).__name__} {kind}: {type(error).__name__}: {error}",
        )
    return ("built all the same", f"{number}: {kind}: {expected}") if expected else ("harmless", "")


def main(argv: list[str] | None = None) -> int:
    """The row."""
    args = common.options(__doc__, 200).parse_args(argv)
    counts: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as null:
        said, sys.stderr = sys.stderr, null
        try:
            for number in range(args.n):
                result, text = try_one(number, args.seed, Path(folder) / "case")
                counts[result] += 1
                if result not in ("found", "harmless"):
                    failures.append(text)
        finally:
            sys.stderr = said
    for text in failures[:20]:
        print(text)
    return common.finish(
        "labels",
        n=args.n,
        passed=not failures,
        counts=counts,
        output=args.output,
        seed=args.seed,
        failures=failures[:50],
    )


if __name__ == "__main__":
    sys.exit(main())
