"""Where the quickstart's time goes, and how long an earlier version of it takes.

    python benchmarks/quickstart.py
    git clone . ../first && git -C ../first checkout 159beaa       # the first version with a starter
    python benchmarks/quickstart.py --before ../first [--steps 300] [--rounds 2]

Runs ``run.py --config configs/quickstart.py`` as people do, in a process of its own and with nothing compiled before,
this tree and the other in alternation: the whole training that each has by default, or with ``--steps`` that many steps
and two evaluations. Seconds come from the clock and from the run's own log. The dataset is built beforehand.
``step_cpu`` and ``compile_cpu`` (with the start) are seconds of all cores together: a busy machine changes them less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import report

PHASES = ("start", "compile", "steps", "evaluations", "training", "afterwards", "whole")


def command(tree: Path, *arguments: str) -> list[str]:
    """The command line of a run of the version in ``tree``."""
    return [sys.executable, str(tree / "run.py"), "--config", str(tree / "configs" / "quickstart.py"), *arguments]


def start(tree: Path, cache: Path, *arguments: str, log: Path) -> subprocess.Popen:
    """Starts it in ``tree``, its compiled programs in ``cache``, its output in ``log``."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONPATH": str(tree)}
    with log.open("w") as file:
        return subprocess.Popen(command(tree, *arguments), cwd=tree, env=environment, stdout=file, stderr=file)


def finish(process: subprocess.Popen, log: Path) -> None:
    """Waits for ``process``; with the end of its output where it failed."""
    if process.wait():
        sys.exit(f"{process.args} failed:\n{log.read_text()[-2000:]}")


def timed_run(tree: Path, folder: Path, data: Path, steps: int | None) -> dict[str, float]:
    """Seconds of the phases of one run, and of a step and an evaluation after the first."""
    shorter = [f"--config.train.steps={steps}", f"--config.train.evaluate_every={steps // 2}"] if steps else []
    workdir, output = folder / "run", folder / "output"
    begun = time.perf_counter()
    process = start(
        tree, folder / "cache", f"--workdir={workdir}", f"--config.data.data_dir={data}", *shorter, log=output
    )
    lines = _watched(process, workdir / "logs" / "train.jsonl")
    finish(process, output)
    whole = time.perf_counter() - begun
    compiled_at, compile_line = next((at - begun, line) for at, line in lines if "compile_seconds" in line)
    evaluated = [at - begun for at, line in lines if line["kind"] == "evaluate"]
    before = [
        max(at - begun for at, line in lines if line["kind"] == "train" and at - begun < end) for end in evaluated
    ]
    evaluations = [end - since for since, end in zip(before, evaluated, strict=True)]
    training = evaluated[-1] - (compiled_at - compile_line["compile_seconds"])
    trained = [line for _, line in lines if line["kind"] == "train"]
    until = next(line["step"] for _, line in lines if line["kind"] == "evaluate")
    first, *_, last = (line for line in trained if 1 < line["step"] <= until)
    return {
        "start": compiled_at - compile_line["compile_seconds"],
        "compile": compile_line["compile_seconds"],
        "steps": training - compile_line["compile_seconds"] - sum(evaluations),
        "evaluations": sum(evaluations),
        "training": training,
        "afterwards": whole - evaluated[-1],
        "whole": whole,
        "step": statistics.median(line["step_seconds"] for line in trained if line["step"] > 10),
        "step_cpu": (last["cpu"] - first["cpu"]) / (last["step"] - first["step"]),
        "compile_cpu": compile_line["cpu"],
        "last_evaluation": evaluations[-1],
        "first_evaluation": evaluations[0],
        "data_wait": statistics.mean(line["data_wait"] for line in trained if line["step"] > 1),
    }


def _watched(process: subprocess.Popen, path: Path) -> list[tuple[float, dict[str, Any]]]:
    """The lines of the log and when each appeared; ``cpu`` in each: the seconds that all cores had spent until then."""
    lines: list[tuple[float, dict[str, Any]]] = []
    cpu = 0.0
    while True:
        over = process.poll() is not None
        cpu = cpu if over else _cpu_seconds(process.pid)
        text = path.read_text() if path.exists() else ""
        now = time.perf_counter()
        new = [line for line in text.splitlines(keepends=True)[len(lines) :] if line[-1] == "\n"]
        lines += [(now, {**json.loads(line), "cpu": cpu}) for line in new]
        if over:
            return lines
        time.sleep(0.05)


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measures, prints a table and writes the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--steps", type=int, help="instead of each version's own")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", default="quickstart", help="name in benchmarks/results/, or a file")
    arguments = parser.parse_args()
    trees = {"now": report.REPO} | ({"before": arguments.before.resolve()} if arguments.before else {})
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, tree in trees.items():
            log = folder / f"build_{name}"
            build = ("--mode=build", f"--config.data.data_dir={folder / name}")
            finish(start(tree, folder / "cache", *build, log=log), log)
        for number in range(arguments.rounds):
            for name, tree in trees.items():
                own = folder / f"{name}_{number}"
                own.mkdir()
                runs[name].append(timed_run(tree, own, folder / name, arguments.steps))
                print(name, report.rounded(runs[name][-1], 3), flush=True)
    versions = {
        name: {"median": {key: statistics.median(run[key] for run in own) for key in own[0]}, "runs": own}
        for name, own in runs.items()
    }
    content: dict[str, Any] = {"settings": {"steps": arguments.steps or "default"}, **versions}
    if arguments.before:
        content["before_commit"] = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=trees["before"], capture_output=True, text=True, check=True
        ).stdout.strip()
        content["now_over_before"] = {
            name: versions["now"]["median"][name] / versions["before"]["median"][name]
            for name in ("step", "step_cpu", "compile", "last_evaluation", "training", "whole")
        }
    path = report.write(arguments.out, report.rounded(content))
    rows = [[name, *(versions[name]["median"][phase] for phase in (*PHASES, "step"))] for name in versions]
    print(report.markdown(("seconds", *PHASES, "a step"), rows))
    print(f"figures: {path}")


if __name__ == "__main__":
    main()
