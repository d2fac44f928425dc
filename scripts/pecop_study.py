"""Does continual pretraining help? {no pretraining, its controls, HPT, PECoP} x seeds on rendered finger taps.

    python scripts/pecop_study.py --workdir runs/pecop_study [--seeds 10] [--jobs 2]

Each seed of each arm pretrains (configs/taps_pretrain.py), fine-tunes on the same 64 labelled videos
(configs/taps_score.py) and is tested on 400 videos of other patients. The seed is that of both trainings; everything
but the arm is equal within a seed, so differences are paired. What is finished is kept: an interrupted study goes on.

Ends with STUDY/table.md, study.json and study.png: test rho by arm, and the paired differences to the starter whose
running statistics were re-estimated on the same unlabelled videos, with 95 % intervals over seeds (Student's t).
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from aqa_jax.evaluate import plots  # noqa: E402
from aqa_jax.evaluate.results import read_metrics  # noqa: E402
from aqa_jax.files import write_json  # noqa: E402

REFERENCE = "statistics"
METRIC = "rho"
PRETRAINING_STEPS = 300
FINETUNING_STEPS = 240
STATISTICS_STEPS = 60  # running averages of momentum .1: e^-6 of the old is left


@dataclasses.dataclass(frozen=True)
class Arm:
    """What happens before fine-tuning; ``pretraining`` is a word of configs/taps_pretrain.py, or None."""

    pretraining: str | None
    title: str


ARMS = {
    "starter": Arm(None, "starter"),
    REFERENCE: Arm("statistics", "starter, statistics re-estimated"),
    "untrained": Arm("untrained", "starter, untrained adapters, statistics re-estimated"),
    "hpt": Arm("hpt", "HPT: everything pretrained"),
    "pecop": Arm("pecop", "PECoP: adapters pretrained"),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """One seed of one arm."""

    arm: str
    seed: int
    folder: Path
    data_dir: str
    pretraining_steps: int
    finetuning_steps: int


def start_worker(cores: Any) -> None:
    """A worker keeps to one core of its own: XLA's threads would else fight for all of them."""
    core = cores.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    import jax

    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or os.path.expanduser("~/.cache/aqa_jax/xla")
    jax.config.update("jax_compilation_cache_dir", cache)


def carry_out(job: Job) -> tuple[str, int]:
    """Pretrains and fine-tunes what is not there yet."""
    from configs import taps_pretrain, taps_score

    arm = ARMS[job.arm]
    if (job.folder / "score" / "evaluation" / "metrics.json").exists():
        return job.arm, job.seed
    scoring = taps_score.get_config()
    if arm.pretraining:
        config = taps_pretrain.get_config(arm.pretraining)
        frozen = config.train.trainable == "head"
        steps = STATISTICS_STEPS if frozen else job.pretraining_steps
        config.update_from_flattened_dict(
            {"train.steps": steps, "train.evaluate_every": steps, "evaluate.views": 2} | common(job)
        )
        train(config, job.folder / "pretraining")
        scoring.model.weights = str(backbone_of(job.folder / "pretraining"))
        scoring.adapter.kind = config.adapter.kind
    scoring.update_from_flattened_dict(
        {"train.steps": job.finetuning_steps, "train.evaluate_every": job.finetuning_steps} | common(job)
    )
    train(scoring, job.folder / "score")
    return job.arm, job.seed


def common(job: Job) -> dict[str, Any]:
    """Keys of both trainings."""
    return {"seed": job.seed, "data.data_dir": job.data_dir, "data.threads": 1}


def train(config: Any, workdir: Path) -> None:
    """What ``run.py --mode train`` does."""
    from aqa_jax import config as config_lib
    from aqa_jax.train import final
    from aqa_jax.train.loop import train as train_loop

    if not (workdir / "evaluation" / "metrics.json").exists():
        workdir.mkdir(parents=True, exist_ok=True)
        with (
            (workdir / "console.txt").open("a") as console,
            contextlib.redirect_stdout(console),
            contextlib.redirect_stderr(console),
        ):
            run = train_loop(config_lib.resolve(config), workdir)
            final.evaluate_run(run, workdir, workdir / "evaluation")


def backbone_of(workdir: Path) -> Path:
    """The pretrained backbone (with adapters and running statistics) as a weight file."""
    from aqa_jax import weights
    from aqa_jax.train.imported import run_backbone

    path = workdir / "backbone.safetensors"
    if not path.exists():
        flat, metadata = run_backbone(workdir)
        weights.write_safetensors(path, flat, metadata)
    return path


def summarise(study: Path, seeds: int) -> dict[str, Any]:
    """Figures of all arms that are finished for every seed, and paired differences to the reference arm."""
    arms = {}
    for name, arm in ARMS.items():
        folders = [study / f"seed{seed}" / name for seed in range(seeds)]
        found = [read_metrics(f / "score" / "evaluation" / "metrics.json") for f in folders]
        values = np.array([content["metrics"][METRIC] for content in found], float)
        entry: dict[str, Any] = {
            "title": arm.title,
            METRIC: values.tolist(),
            "mean": float(values.mean()),
            "interval": interval(values),
            "mae": float(np.mean([content["metrics"]["mae"] for content in found])),
        }
        if arm.pretraining:
            pretext = [read_metrics(f / "pretraining" / "evaluation" / "metrics.json")["metrics"] for f in folders]
            for head in ("segment", "pace"):
                entry[f"{head}_accuracy"] = [figures[f"{head}_accuracy"] for figures in pretext]
        arms[name] = entry
    reference = np.array(arms[REFERENCE][METRIC])
    for name, entry in arms.items():
        if name != REFERENCE:
            difference = np.array(entry[METRIC]) - reference
            entry["difference"] = float(difference.mean())
            entry["difference_interval"] = interval(difference)
    return {"reference": REFERENCE, "seeds": seeds, "arms": arms}


def interval(values: np.ndarray) -> list[float]:
    """Student's 95 % interval of the mean of ``values`` [N]."""
    found = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    return [float(found.low), float(found.high)]


def table(summary: dict[str, Any]) -> str:
    """The study as Markdown."""
    lines = [
        f"{summary['seeds']} seeds of both trainings an arm; test ρ, mean [95 % interval over seeds].",
        "",
        "| arm | segment | pace | ρ | MAE | ρ less the re-estimated starter's |",
        "|---|---|---|---|---|---|",
    ]
    for entry in summary["arms"].values():
        pretext = [
            f"{np.mean(entry[key]):.3f}" if key in entry else "" for key in ("segment_accuracy", "pace_accuracy")
        ]
        low, high = entry["interval"]
        cells = [entry["title"], *pretext, f"{entry['mean']:.3f} [{low:.3f}, {high:.3f}]", f"{entry['mae']:.3f}"]
        if "difference" in entry:
            low, high = entry["difference_interval"]
            cells.append(f"{entry['difference']:+.3f} [{low:+.3f}, {high:+.3f}]")
        else:
            cells.append("–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is missing, then writes and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, each on a core of its own")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--pretraining_steps", type=int, default=PRETRAINING_STEPS)
    parser.add_argument("--finetuning_steps", type=int, default=FINETUNING_STEPS)
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2: an interval over seeds needs them")
    study = arguments.workdir.absolute()
    study.mkdir(parents=True, exist_ok=True)
    protocol = {"pretraining_steps": arguments.pretraining_steps, "finetuning_steps": arguments.finetuning_steps}
    kept = study / "protocol.json"
    if kept.exists() and json.loads(kept.read_text()) != protocol:
        parser.error(f"{study} holds a study with {json.loads(kept.read_text())}: give another --workdir")
    write_json(kept, protocol)
    build_dataset(arguments.data_dir)
    jobs = [
        Job(arm, seed, study / f"seed{seed}" / arm, arguments.data_dir, **protocol)
        for seed in range(arguments.seeds)
        for arm in ARMS
    ]
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(arguments.jobs)
    for k in range(arguments.jobs):
        cores.put(available[k % len(available)])
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs, context, start_worker, (cores,)) as pool:
        running = [pool.submit(carry_out, job) for job in jobs]
        for finished in tqdm(concurrent.futures.as_completed(running), total=len(jobs), unit="training"):
            finished.result()
    summary = summarise(study, arguments.seeds)
    write_json(study / "study.json", summary)
    (study / "table.md").write_text(table(summary))
    reference = summary["arms"][REFERENCE]
    differences = {
        entry["title"]: np.array(entry[METRIC]) - np.array(reference[METRIC])
        for name, entry in summary["arms"].items()
        if name != REFERENCE
    }
    plots.paired_differences(study / "study.png", differences, reference["title"], metric=METRIC)
    print(table(summary))


def build_dataset(data_dir: str) -> None:
    """Builds the videos once, before several processes want them."""
    from aqa_jax import config as config_lib
    from aqa_jax.train.run import build_dataset as build
    from configs import taps_score

    config = taps_score.get_config()
    config.data.data_dir = data_dir
    build(config_lib.resolve(config))


if __name__ == "__main__":
    main()
