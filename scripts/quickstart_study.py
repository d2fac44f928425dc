"""The quickstart over seeds, beside its controls: what docs/quickstart.md reports.

    python scripts/quickstart_study.py --workdir runs/study [--seeds 3]

Runs configs/quickstart.py from the starter backbone for each seed; for the first seed also evaluates it on shuffled
frames, trains on shuffled frames, and trains from random weights; then the cheap controls. Finished parts are kept, so
an interrupted study goes on. Ends with a Markdown table, kept in STUDY/table.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*arguments: str | Path) -> None:
    """A Python script of this repository, in a process of its own."""
    subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, check=True)


def metrics(folder: Path) -> dict:
    """The headline figures in ``folder``."""
    return json.loads((folder / "metrics.json").read_text())


def train(workdir: Path, *keys: str) -> dict:
    """The quickstart with changed ``keys``, unless it has been run; its figures."""
    if not (workdir / "evaluation" / "metrics.json").exists():
        run("run.py", "--config", "configs/quickstart.py", *keys, "--workdir", workdir)
    return metrics(workdir / "evaluation")


def row(name: str, figures: dict) -> str:
    """A line of the table."""
    low, high = figures["confidence"]["rho"]
    cells = [f"{figures['rho']:.3f} [{low:.3f}, {high:.3f}]", f"{figures['rl2']:.2f}", f"{figures['mae']:.2f}"]
    cells += [f"{figures[key]:.3f}" if key in figures else "" for key in ("coverage_90", "nll", "nll_constant")]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    study = arguments.workdir.absolute()
    names = ("", "ρ [95 % interval]", "R-ℓ2", "MAE", "coverage of 90 %", "NLL", "NLL, constant σ")
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for seed in range(arguments.seeds):
        content = train(study / f"seed{seed}", f"--config.seed={seed}")
        lines.append(row(f"DAE-MT from the starter, seed {seed}", content["metrics"]))
        for rule in ("last", "best_on_test"):
            lines.append(row(f"— the same, chosen by `{rule}`", content["all_selections"][rule]["test"]))
    first = study / "seed0"
    shuffled = first / "shuffled"
    if not (shuffled / "metrics.json").exists():
        run("run.py", "--workdir", first, "--mode", "evaluate", "--config.data.shuffle_time=True", "--output", shuffled)
    lines.append(row("seed 0, frames shuffled at test", metrics(shuffled)["metrics"]))
    content = train(study / "trained_on_shuffled", "--config.data.shuffle_time=True")
    lines.append(row("trained and tested on shuffled frames", content["metrics"]))
    content = train(study / "random_weights", "--config.model.weights=")
    lines.append(row("random weights instead of the starter", content["metrics"]))
    controls = first / "evaluation" / "controls.json"
    if not controls.exists():
        run("scripts/controls.py", "--workdir", first)
    for name, figures in json.loads(controls.read_text())["controls"].items():
        lines.append(row(name, figures))
    table = "\n".join(lines) + "\n"
    (study / "table.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
