"""Does a head know how sure it may be? Every head on rendered dives whose judges' noise is known.

    python scripts/uncertainty_study.py --workdir runs/uncertainty [--seeds 1] [--heads dae_mt,dae_judges]

Trains configs/dives_uncertainty.py for each head and seed, each from the seed's own ``start`` (a fresh process each;
what is finished is kept, and a broken training goes on). On 1,500 test dives it compares what the head says with what
is known: true sigma is that of the middle three of seven judges with the dive's own noise, times the difficulty. Ends
with STUDY/table.md, study.json and study.png.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from aqa_jax import config as config_lib  # noqa: E402
from aqa_jax.evaluate.plots import BLUE, GREY, save  # noqa: E402
from aqa_jax.evaluate.results import read_metrics, read_predictions  # noqa: E402
from aqa_jax.files import write_json  # noqa: E402
from aqa_jax.models.heads.panel import MIDDLE_THREE_VARIANCE  # noqa: E402
from aqa_jax.train.run import Run  # noqa: E402
from configs.dives_uncertainty import HEADS, START  # noqa: E402

CONFIG = "configs/dives_uncertainty.py"
PARTS = 10

TITLES = {
    "regression": "regression, one σ",
    "usdl": "USDL",
    "musdl": "MUSDL",
    "dae": "DAE",
    "dae_mt_plain": "DAE-MT",
    "dae_mt": "DAE-MT, judges' spread",
    "dae_judges": "DAE judge heads",
    "core": "CoRe",
    "dae_core": "DAE-CoRe",
}
COLUMNS = {
    "rho": "ρ", "mae": "MAE", "raw_coverage_90": "raw coverage of 90 %", "coverage_90": "recalibrated",
    "nll_gain": "NLL gain over one σ", "crps_gain": "CRPS gain over one σ", "sigma_rho": "ρ(σ, true σ)",
    "uncertainty_tau": "RICA² τ",
}  # fmt: skip


def run(*arguments: str | Path) -> None:
    """run.py, in a process of its own."""
    subprocess.run([sys.executable, "run.py", *map(str, arguments)], cwd=ROOT, check=True)


def train(word: str, seed: int, study: Path, keys: list[str]) -> Path:
    """The run of ``configs/dives_uncertainty.py:word``, unless it is finished."""
    workdir = study / f"{word}_seed{seed}"
    if not (workdir / "evaluation" / "metrics.json").exists():
        run(
            "--config", f"{CONFIG}:{word}", f"--config.seed={seed}", f"--config.data.data_dir={study / 'data'}", *keys,
            "--workdir", workdir,
        )  # fmt: skip
    return workdir


def start(seed: int, study: Path, keys: list[str]) -> Path:
    """The weight file that the seed's heads start from."""
    trained, folder = train(START, seed, study, keys), study / f"start_seed{seed}_weights"
    if not (folder / "config.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        run(
            "--config", f"{CONFIG}:{START}", f"--config.data.data_dir={study / 'data'}", "--mode", "import_weights",
            "--weights", trained, "--output", folder,
        )  # fmt: skip
    return folder / "weights.safetensors"


def figures(run: Path) -> dict[str, Any]:
    """A finished run's figures, and Spearman's rho of sigma and true sigma with its 95 % interval."""
    config = config_lib.resolve(config_lib.read_json(run / "config.json"))
    setup = Run(config)
    test = setup.labels("test")
    sigma_of = MIDDLE_THREE_VARIANCE**0.5 * test["judge_sigma"] * test["difficulty"]
    true = dict(zip(setup.store.table.column("id")[setup.rows["test"]], sigma_of, strict=True))
    predictions = read_predictions(run / "evaluation" / "predictions.csv")
    sigma, truth = np.asarray(predictions["sigma"]), np.array([true[name] for name in predictions["id"]])
    content = read_metrics(run / "evaluation" / "metrics.json")
    found = content["metrics"]
    result = {name: found.get(name) for name in COLUMNS}
    result["raw_coverage_90"] = (content.get("raw") or found)["coverage_90"]
    intervals = {name: found["confidence"].get(name) for name in ("rho", "mae", "nll_gain", "crps_gain")}
    if np.ptp(sigma) > 0:
        result["sigma_rho"] = float(stats.spearmanr(sigma, truth).statistic)
        again = stats.bootstrap(
            (sigma, truth), lambda a, b: stats.spearmanr(a, b).statistic, paired=True, vectorized=False,
            method="percentile", n_resamples=500, rng=np.random.default_rng(0),
        )  # fmt: skip
        intervals["sigma_rho"] = [float(again.confidence_interval.low), float(again.confidence_interval.high)]
    error = np.abs(np.asarray(predictions["score"]) - np.asarray(predictions["mean"]))
    parts = np.array_split(np.argsort(truth, kind="stable"), PARTS)
    by_truth = {
        "true_sigma": [float(truth[part].mean()) for part in parts],
        "sigma": [float(sigma[part].mean()) for part in parts],
        "rmse": [float(np.sqrt(np.mean(error[part] ** 2))) for part in parts],
    }
    return {
        "figures": result, "confidence": intervals, "by_true_sigma": by_truth, "protocol": content["protocol"],
        "n": found["num_examples"],
    }  # fmt: skip


def draw(path: Path, found: dict[str, list[dict[str, Any]]]) -> None:
    """A small picture for each head: predicted sigma and actual error over true sigma, first seed."""
    columns = min(3, len(found))
    lines = -(-len(found) // columns)
    figure = Figure((3.2 * columns, 2.7 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel in axes[len(found) :]:
        panel.set_axis_off()
    for panel, (head, seeds) in zip(axes, found.items(), strict=False):
        values = seeds[0]["by_true_sigma"]
        panel.plot(values["true_sigma"], values["rmse"], "s", color=GREY, markersize=4, label="actual error (RMS)")
        panel.plot(values["true_sigma"], values["sigma"], "o-", color=BLUE, markersize=4, label="predicted σ")
        panel.set_title(TITLES[head], fontsize=10)
        panel.grid(alpha=0.3)
    axes[0].set_ylim(bottom=0)  # shared by all, once all are drawn
    axes[0].legend(fontsize=8, frameon=False)
    figure.supxlabel("true σ of the judges' score, tenths of the test dives (score points)", fontsize=9)
    figure.supylabel("score points", fontsize=9)
    save(figure, path)


def row(head: str, seeds: list[dict[str, Any]]) -> str:
    """A line of the table: the mean over seeds; with one seed, the interval over videos."""
    cells = []
    for name in COLUMNS:
        values = [seed["figures"][name] for seed in seeds]
        if any(value is None for value in values):
            cells.append("undefined")
            continue
        cell = f"{np.mean(values):.3f}"
        interval = seeds[0]["confidence"].get(name) if len(seeds) == 1 else None
        cells.append(cell + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""))
    return f"| {TITLES[head]} | " + " | ".join(cells) + " |"


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--heads", default=",".join(HEADS))
    parser.add_argument("--key", action="append", default=[], help="further keys of every run, as train.steps=300")
    arguments = parser.parse_args()
    study, heads = arguments.workdir.absolute(), arguments.heads.split(",")
    if unknown := [head for head in heads if head not in HEADS]:
        sys.exit(f"--heads: no {', '.join(unknown)}; there are {', '.join(HEADS)}")
    keys = [f"--config.{key}" for key in arguments.key]
    runs = {}
    for head, seed in tqdm([(head, seed) for seed in range(arguments.seeds) for head in heads], unit="training"):
        weights = start(seed, study, keys)
        runs[head, seed] = train(head, seed, study, [*keys, f"--config.model.weights={weights}"])
    found = {head: [figures(runs[head, seed]) for seed in range(arguments.seeds)] for head in heads}
    lines = ["| head | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    table = "\n".join(lines + [row(head, seeds) for head, seeds in found.items()]) + "\n"
    (study / "table.md").write_text(table)
    device = jax.devices()[0].device_kind
    write_json(
        study / "study.json", {"device": device, "seeds": arguments.seeds, "keys": arguments.key, "heads": found}
    )
    draw(study / "study.png", found)
    print(table)


if __name__ == "__main__":
    main()
