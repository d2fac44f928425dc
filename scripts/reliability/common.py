"""What the reliability scripts share: their options, the row they print, the file they write, and runs to disturb.

Each script is one row of docs/reliability.md::

    python scripts/reliability/NAME.py --n N [--seed S]

It prints the row, writes ``benchmarks/results/reliability_NAME.json`` (counts, versions, commit) and ends with 1 where
the row does not pass.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / "benchmarks")]
import report  # noqa: E402


def options(doc: str, n: int) -> argparse.ArgumentParser:
    """A parser of ``--n`` (cases, by default ``n``), ``--seed`` and ``--output``, for more to be added."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=n, help="cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="", help="where the JSON goes, instead of benchmarks/results")
    return parser


def finish(name: str, *, n: int, passed: bool, counts: Mapping[str, Any], output: str = "", **more: Any) -> int:
    """Prints the row, writes ``reliability_NAME.json``; the exit code.

    Args:
      name: the script's.
      n: cases that were tried.
      passed: whether the row's condition held for all of them.
      counts: what came out how often, as numbers by short names.
      output: a file instead of the one in ``benchmarks/results``.
      more: what else the file should hold: sizes, settings, findings.
    """
    content = {"row": name, "n": n, "passed": passed, "counts": dict(counts), **more}
    path = report.write(output or f"reliability_{name}", content)
    said = ", ".join(f"{key} {value}" for key, value in counts.items())
    print(f"{name}: {n} cases, {'passed' if passed else 'FAILED'}: {said} ({path})")
    return 0 if passed else 1


# What a run is that is killed, stopped and robbed of its disk: the quickstart, small enough to be run a hundred times.
SIZE = {
    "data.options": "train_videos=40,test_videos=20",
    "data.validation_fraction": 0.2,
    "model.width": 0.05,
    "model.final_endpoint": "Mixed_3c",
    "model.weights": "",
    "model.batch_norm": "frozen",
    "train.batch_size": 8,
    "train.steps": 60,
    "train.evaluate_every": 12,
    "train.checkpoint_every": 4,
    "train.log_every": 1,
    "optimizer.warmup_steps": 0,
    "evaluate.bootstrap": 50,
    "predict.samples": 0,
}


def command(folder: Path, size: Mapping[str, Any] = SIZE, **changes: Any) -> list[str]:
    """The command line of a small quickstart in ``folder``: its data in ``data``, its workdir ``run``."""
    settings = {"data.data_dir": folder / "data", **size, **changes}
    keys = [f"--config.{key}={value}" for key, value in settings.items()]
    config = str(REPO / "configs" / "quickstart.py")
    return [sys.executable, str(REPO / "run.py"), "--config", config, *keys, "--workdir", str(folder / "run")]


def start(arguments: list[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Starts ``arguments`` in a process of its own; what it says is added to ``log``."""
    variables = os.environ | {"PYTHONPATH": str(REPO)} | environment
    with log.open("ab") as file:
        return subprocess.Popen(arguments, cwd=REPO, env=variables, stdout=file, stderr=file)


def digest(path: Path) -> str:
    """sha256 of a file, or of all files under a folder with their names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(str(file.relative_to(path)).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()
