"""A run's folder, file by file: is what lies there what was written, and does it belong together?"""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.errors import AqaError
from aqa_jax.files import read_json
from aqa_jax.train import manifest

WHOLE = "whole"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file or a folder of a run.

    Attributes:
      name: its path in the workdir.
      files: how many files that is.
      size: bytes.
      state: `WHOLE`, a remark, or the faults in words.
      is_fault: whether something is wrong with it.
    """

    name: str
    files: int
    size: int
    state: str = WHOLE
    is_fault: bool = False


def check(workdir: Path) -> int:
    """Prints what lies in the run ``workdir``, or in each run of a cross-validation; 1 if something is wrong."""
    from aqa_jax.train.finished import is_crossval

    folders = sorted(path for path in workdir.glob("fold_*/seed_*") if path.is_dir()) if is_crossval(workdir) else []
    faults = 0
    for folder in folders or [workdir]:
        entries = look(folder)
        faults += sum(entry.is_fault for entry in entries)
        print(_table(folder, entries))
    print(f"{faults} findings." if faults else "Nothing is wrong.")
    return 1 if faults else 0


def look(workdir: Path) -> list[Entry]:
    """Every part of the run ``workdir``, whole or not."""
    entries, config = [], None
    try:
        config = config_lib.resolve(config_lib.read_json(workdir / "config.json"))
        entries.append(_entry(workdir, "config.json"))
    except AqaError as error:
        entries.append(_entry(workdir, "config.json", str(error)))
    trained_on: dict[str, Any] = {}

    def read_trained_on() -> None:
        from aqa_jax.train.finished import TRAINED_ON

        trained_on.update(read_json(workdir / "trained_on.json", TRAINED_ON))

    # What was imported has none before it is evaluated.
    if (workdir / "trained_on.json").exists() or (workdir / "logs").exists():
        entries.append(_tried(workdir, "trained_on.json", read_trained_on))
    entries += _checkpoints(workdir, config)
    entries += _logs(workdir)
    return entries + _evaluation(workdir, config, trained_on)


def _checkpoints(workdir: Path, config: Config | None) -> list[Entry]:
    from aqa_jax.train.checkpoints import SET_ASIDE, Checkpoints, in_words

    checkpoints, entries = Checkpoints(workdir / "checkpoints"), []
    steps = checkpoints.steps()
    if not steps:
        entries.append(Entry("checkpoints", 0, 0, "no checkpoint", is_fault=True))
    like = _model(config) if config and steps else None
    for step in steps:
        name, problems = f"checkpoints/{step}", checkpoints.faults(step)
        if not problems and like is not None:
            try:
                checkpoints.check_fits(step, like)
            except AqaError as error:
                problems = [str(error)]
        state = WHOLE if checkpoints.has_manifest(step) else "readable; an earlier version wrote it without a manifest"
        entries.append(_entry(workdir, name, in_words(problems), state))
    for path in sorted((workdir / "checkpoints").glob("*orbax-checkpoint-tmp*")):
        entries.append(_entry(workdir, f"checkpoints/{path.name}", state="half written; the next save removes it"))
    for path in sorted((workdir / SET_ASIDE).glob("*")):
        entries.append(_entry(workdir, f"{SET_ASIDE}/{path.name}", state="set aside; nothing reads it"))
    return entries


def _model(config: Config) -> dict[str, Any] | None:
    """Shapes of the model; None where the config cannot make one, which is no matter of the files'."""
    from aqa_jax.train.run import Run, restored_like

    try:
        return restored_like(Run(config))
    except AqaError:
        return None


def _logs(workdir: Path) -> list[Entry]:
    path = workdir / "logs" / "train.jsonl"
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    broken = [number for number, line in enumerate(lines, 1) if not _is_json(line)]
    if broken == [len(lines)]:
        return [_entry(workdir, "logs/train.jsonl", state="whole but for the last line, which a kill cut short")]
    return [_entry(workdir, "logs/train.jsonl", f"line {broken[0]} is no JSON" if broken else "")]


def _evaluation(workdir: Path, config: Config | None, trained_on: dict[str, Any]) -> list[Entry]:
    from aqa_jax.evaluate import familiarity, recalibration, results

    folder = workdir / "evaluation"
    if not (folder / "metrics.json").exists():
        return [Entry("evaluation", 0, 0, "not evaluated yet: the same command, or --mode evaluate, does it")]
    entries, metrics = [], dict[str, Any]()
    entries.append(
        _tried(workdir, "evaluation/metrics.json", lambda: metrics.update(_metrics(folder, config, trained_on)))
    )
    unlisted = "" if manifest.has(folder) else "; no manifest: what it was cannot be compared"

    def owned(read: Callable[[Path], tuple[Any, dict[str, Any]]], path: Path) -> None:
        owner, selection = read(path)[1], metrics.get("selection", {})
        for key in ("rule", "step"):
            if metrics and owner[key] != selection[key]:
                raise ValueError(f"it was learnt for {key} {owner[key]}, metrics.json has {selection[key]}")

    def predictions(path: Path) -> None:
        count = len(results.read_predictions(path)["id"])
        if metrics and count != metrics["num_examples"]:
            raise ValueError(f"{count} videos, metrics.json has {metrics['num_examples']}")

    readers: dict[str, Callable[[Path], None]] = {
        "predictions.csv": predictions,
        "recalibration.json": lambda path: owned(recalibration.read, path),
        "familiarity.npz": lambda path: owned(familiarity.read, path),
    }
    for name, read in readers.items():
        if (path := folder / name).exists():
            entries.append(_tried(workdir, f"evaluation/{name}", partial(read, path)))
    if unlisted:
        entries[0] = dataclasses.replace(entries[0], state=entries[0].state + unlisted)
    else:
        problems = manifest.faults(folder, listed_alone=True)
        entries.append(_entry(workdir, f"evaluation/{manifest.NAME}", "; ".join(problems)))
    return entries


def _metrics(folder: Path, config: Config | None, trained_on: dict[str, Any]) -> dict[str, Any]:
    from aqa_jax.evaluate.results import read_metrics

    metrics = read_metrics(folder / "metrics.json")
    if config and metrics["config_hash"] != (wanted := config_lib.fingerprint(config)):
        raise ValueError(f"it is of the config {metrics['config_hash']}, config.json is {wanted}")
    if trained_on and metrics["dataset_fingerprint"] != trained_on["fingerprint"]:
        raise ValueError("it was evaluated on another dataset than trained_on.json names")
    return metrics


def _tried(workdir: Path, name: str, read: Callable[[], Any]) -> Entry:
    """The entry of a file, with what goes wrong when it is read."""
    try:
        read()
    # A damaged file may hold anything; whatever its reader makes of that is the finding.
    except Exception as error:
        return _entry(workdir, name, str(error) or type(error).__name__)
    return _entry(workdir, name)


def _entry(workdir: Path, name: str, faults: str = "", state: str = WHOLE) -> Entry:
    path = workdir / name
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return Entry(name, len(files), size, f"DAMAGED: {faults}" if faults else state, bool(faults))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _table(workdir: Path, entries: list[Entry]) -> str:
    width = max(len(entry.name) for entry in entries)
    lines = [f"{workdir}", f"  {'':<{width}}{'files':>7}{'MB':>10}  state"]
    lines += [f"  {e.name:<{width}}{e.files:>7}{e.size / 1e6:>10.3f}  {e.state}" for e in entries]
    return "\n".join(lines)
