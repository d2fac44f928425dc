"""Prints what cheap statistics reach on a run's dataset beside its own figures, and saves controls.json.

    python scripts/controls.py --workdir RUN

The controls are fitted on the whole training split, the validation videos included.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aqa_jax import config as configuration
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import AqaError
from aqa_jax.evaluate import controls
from aqa_jax.evaluate.results import read_metrics
from aqa_jax.files import write_json
from aqa_jax.train.run import build_dataset


def table(rows: dict[str, dict]) -> str:
    """A markdown table: Spearman's rho with its confidence interval, and R-l2, of every row."""
    lines = ["| | ρ | 95 % interval | R-ℓ2 |", "|---|---|---|---|"]
    for name, metrics in rows.items():
        interval = metrics["confidence"]["rho"]
        shown = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "–"
        rho, rl2 = (f"{metrics[key]:.3f}" if metrics[key] is not None else "–" for key in ("rho", "rl2"))
        lines.append(f"| {name} | {rho} | {shown} | {rl2} |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="of a trained run")
    workdir = parser.parse_args().workdir
    config = configuration.resolve(configuration.read_json(workdir / "config.json"))
    store = VideoStore.open(build_dataset(config))
    found = controls.compare(store, config.data.window, bootstrap=config.evaluate.bootstrap, seed=config.seed)
    rows = {}
    if (workdir / "evaluation" / "metrics.json").exists():
        rows["this run"] = read_metrics(workdir / "evaluation" / "metrics.json")["metrics"]
    write_json(
        workdir / "evaluation" / "controls.json",
        {
            "schema": "aqa_jax.controls/1",
            "dataset_fingerprint": store.metadata["fingerprint"],
            "window": config.data.window,
            "controls": found,
        },
    )
    print(table(rows | found))


if __name__ == "__main__":
    try:
        main()
    except AqaError as error:
        sys.exit(f"error: {error}")
