"""Does continual pretraining help? {no pretraining, its controls, HPT, PECoP} x seeds.

    python scripts/pecop_study.py --workdir runs/pecop_study [--seeds 10] [--jobs 2]
    python scripts/pecop_study.py --workdir runs/gait_study --pretraining configs/pecop_pd4t_gait.py \\
        --scoring configs/pd4t_gait_dae.py --key data.raw_dir=PD4T --key model.weights=model_rgb.pth --jobs 1

By default on rendered finger taps: pretraining on 1,264 videos without their labels, fine-tuning on the 64 labelled
ones, test on 400 videos of other patients. The seed of an arm is that of both trainings; everything but the arm is
equal within a seed, so differences are paired. Finished trainings are kept and a broken one resumes: give the same
command again.

Ends with STUDY/table.md, study.json and study.png: test rho by arm, its paired difference to the arm whose running
statistics alone were re-estimated on the pretraining's videos, and PECoP's to it, with 95 % intervals over seeds
(Student's t: they say what other seeds would give, not other patients).
"""

import argparse
import ast
import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib.util
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy import stats
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from aqa_jax import config as config_lib  # noqa: E402
from aqa_jax.errors import AqaError  # noqa: E402
from aqa_jax.evaluate import plots  # noqa: E402
from aqa_jax.evaluate.results import read_metrics  # noqa: E402
from aqa_jax.files import write_json  # noqa: E402
from aqa_jax.train.run import build_dataset  # noqa: E402

REFERENCE = "statistics"
PROPOSED = "pecop"
METRIC = "rho"
STATISTICS_STEPS = 60  # running averages of momentum .1: .2 % of the old is left


@dataclasses.dataclass(frozen=True)
class Arm:
    """What happens before fine-tuning: what is added to the backbone, what is pretrained (None: no pretraining)."""

    title: str
    adapter: str = "none"
    trainable: str | None = None


ARMS = {
    "starter": Arm("as it starts"),
    REFERENCE: Arm("statistics re-estimated", "none", "head"),
    "untrained": Arm("untrained adapters, statistics re-estimated", "3d", "head"),
    "hpt": Arm("HPT: everything pretrained", "none", "all"),
    "pecop": Arm("PECoP: adapters pretrained", "3d", "adapters"),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A config file and changed keys."""

    path: Path
    keys: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Job:
    """One seed of one arm: two config files, and the changed keys of each."""

    arm: str
    seed: int
    folder: Path
    pretraining: Source
    scoring: Source


_cores: Any = None


def start_worker(cores: Any) -> None:
    """Prepares the process of one arm; ``cores`` is the queue of free ones."""
    global _cores
    _cores = cores
    import jax
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or os.path.expanduser("~/.cache/aqa_jax/xla")
    jax.config.update("jax_compilation_cache_dir", cache)


def carry_out(job: Job) -> None:
    """One arm on a core of its own: XLA's threads would else fight for all of them."""
    core = _cores.get()
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})
        pretrain_and_score(job)
    finally:
        _cores.put(core)


def pretrain_and_score(job: Job) -> None:
    """Pretrains and fine-tunes what is not there yet."""
    arm = ARMS[job.arm]
    scoring = load(job.scoring)
    scoring.update_from_flattened_dict({"seed": job.seed, "data.threads": 1, "adapter.kind": arm.adapter})
    if arm.trainable is not None:
        config = load(job.pretraining)
        config.update_from_flattened_dict(
            {"seed": job.seed, "data.threads": 1, "adapter.kind": arm.adapter, "train.trainable": arm.trainable}
        )
        if arm.trainable == "head":
            config.train.steps = config.train.evaluate_every = STATISTICS_STEPS
        train(config, job.folder / "pretraining")
        scoring.model.weights = str(backbone_of(job.folder / "pretraining"))
    train(scoring, job.folder / "score")


def load(source: Source) -> ConfigDict:
    """The config that ``source`` gives."""
    spec = importlib.util.spec_from_file_location(source.path.stem, source.path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    for key, text in source.keys:
        *groups, name = key.split(".")
        group = functools.reduce(lambda node, part: node[part], groups, config)
        value = text if group.get_type(name) is str else ast.literal_eval(text)
        group[name] = float(value) if group.get_type(name) is float else value
    return config


def train(config: Any, workdir: Path) -> None:
    """What ``run.py --mode train`` does."""
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


def summarise(study: Path, seeds: int, names: Sequence[str] = tuple(ARMS)) -> dict[str, Any]:
    """Figures of the arms ``names``, finished for every seed, and paired differences to the reference arm."""
    arms = {}
    for name in names:
        arm = ARMS[name]
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
        if arm.trainable is not None:
            pretext = [read_metrics(f / "pretraining" / "evaluation" / "metrics.json")["metrics"] for f in folders]
            for head in ("segment", "pace"):
                entry[f"{head}_accuracy"] = [figures[f"{head}_accuracy"] for figures in pretext]
        arms[name] = entry
    for name, entry in arms.items():
        own, reference = np.array(entry[METRIC]), np.array(arms[REFERENCE][METRIC])
        if name != REFERENCE:
            entry["less_reference"] = paired(own - reference)
        if PROPOSED in arms and name != PROPOSED:
            entry["proposed_less_this"] = paired(np.array(arms[PROPOSED][METRIC]) - own)
    return {"reference": REFERENCE, "seeds": seeds, "arms": arms}


def paired(differences: np.ndarray) -> dict[str, Any]:
    """The mean of ``differences`` [N] by seed, and its interval."""
    return {"mean": float(differences.mean()), "interval": interval(differences)}


def interval(values: np.ndarray) -> list[float]:
    """Student's 95 % interval of the mean of ``values`` [N]."""
    found = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    return [float(found.low), float(found.high)]


def table(summary: dict[str, Any]) -> str:
    """The study as Markdown."""
    lines = [
        f"{summary['seeds']} seeds of both trainings an arm; test ρ, mean [95 % interval over seeds].",
        "",
        "| before fine-tuning | segment | pace | ρ | MAE | less *statistics re-estimated* | PECoP less this |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in summary["arms"].values():
        pretext = [
            f"{np.mean(entry[key]):.3f}" if key in entry else "" for key in ("segment_accuracy", "pace_accuracy")
        ]
        low, high = entry["interval"]
        cells = [entry["title"], *pretext, f"{entry['mean']:.3f} [{low:.3f}, {high:.3f}]", f"{entry['mae']:.3f}"]
        for key in ("less_reference", "proposed_less_this"):
            found = entry.get(key)
            cells.append("{:+.3f} [{:+.3f}, {:+.3f}]".format(found["mean"], *found["interval"]) if found else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is missing, then writes and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help=f"{REFERENCE} is always among them")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, each on a core of its own")
    parser.add_argument("--pretraining", type=Path, default=ROOT / "configs" / "taps_pretrain.py")
    parser.add_argument("--scoring", type=Path, default=ROOT / "configs" / "taps_score.py")
    text = "KEY=VALUE, a key of {} changed; may be repeated"
    parser.add_argument("--key", action="append", default=[], help=text.format("both configs"))
    parser.add_argument("--pretraining_key", action="append", default=[], help=text.format("the pretraining alone"))
    parser.add_argument("--scoring_key", action="append", default=[], help=text.format("the scoring alone"))
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2: an interval over seeds needs them")
    names = [name for name in ARMS if name == REFERENCE or name in arguments.arms]
    study = arguments.workdir.absolute()
    sources = [
        Source(path, tuple((name, value) for name, _, value in (key.partition("=") for key in keys)))
        for path, keys in (
            (arguments.pretraining, arguments.key + arguments.pretraining_key),
            (arguments.scoring, arguments.key + arguments.scoring_key),
        )
    ]
    try:
        configs = [config_lib.resolve(load(source)) for source in sources]
    except (AqaError, KeyError, AttributeError, ValueError, OSError) as error:
        parser.error(str(error))
    for config, task in zip(configs, ("vspp", "score"), strict=True):
        if config.task != task:
            parser.error(f"a config of task {config.task} stands where one of task {task} belongs")
    protocol = {"pretraining": config_lib.fingerprint(configs[0]), "scoring": config_lib.fingerprint(configs[1])}
    kept = study / "protocol.json"
    if kept.exists() and json.loads(kept.read_text()) != protocol:
        parser.error(f"{study} holds a study of other configs: give another --workdir")
    write_json(kept, protocol)
    # Once, before several processes want them.
    for config in configs:
        build_dataset(config)
    jobs = [Job(arm, seed, study / f"seed{seed}" / arm, *sources) for seed in range(arguments.seeds) for arm in names]
    context = multiprocessing.get_context("spawn")
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(arguments.jobs)
    with context.Manager() as manager:
        cores = manager.Queue()
        for k in range(arguments.jobs):
            cores.put(available[k % len(available)])
        # A fresh process for every arm: compiled programs would pile up in its memory.
        pool = concurrent.futures.ProcessPoolExecutor(
            arguments.jobs, context, start_worker, (cores,), max_tasks_per_child=1
        )
        failed = []
        with pool:
            running = {pool.submit(carry_out, job): job for job in jobs}
            for finished in tqdm(concurrent.futures.as_completed(running), total=len(jobs), unit="arm"):
                if (cause := finished.exception()) is not None:
                    failed.append(running[finished].folder)
                    tqdm.write(f"{running[finished].folder} failed, the others go on: {cause}")
    if failed:
        sys.exit(f"{len(failed)} of {len(jobs)} arms failed; what they said is in their console.txt. Give the same "
                 "command again to go on.")  # fmt: skip
    report(study, summarise(study, arguments.seeds, names))


def report(study: Path, summary: dict[str, Any]) -> None:
    """Writes what people look at, and prints the table."""
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


if __name__ == "__main__":
    main()
