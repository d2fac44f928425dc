"""The figures of a finished training: every selection rule's checkpoint over the test split."""

from pathlib import Path
from typing import Any

import jax

from aqa_jax import config as config_lib
from aqa_jax.errors import StorageError
from aqa_jax.evaluate import plots, recalibration, results
from aqa_jax.evaluate.protocol import fingerprint, protocol
from aqa_jax.evaluate.selection import select_all
from aqa_jax.files import write_json
from aqa_jax.train import manifest, report_files
from aqa_jax.train.adapter import adapter_of_state, is_exportable, training_data
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.chosen import choose, history_of
from aqa_jax.train.log import read_log
from aqa_jax.train.run import Run, restored_like
from aqa_jax.train.trust import Evaluated, evaluate_checkpoint, learn_familiarity

WRITTEN = (
    "metrics.json", "predictions.csv", "recalibration.json", "familiarity.npz", "scatter.png", "reliability.png",
    "uncertainty.png", "confusion.png", "adapter.safetensors",
)  # fmt: skip
"""What an evaluation leaves in its folder, where it has it; its manifest lists these."""


def evaluate_run(run: Run, workdir: Path, output: Path) -> dict[str, Any]:
    """Evaluates the checkpoints that the selection rules choose, and writes what people look at.

    Writes ``metrics.json`` (headline figures of ``config.evaluate.selection``, and all rules' beside them) into
    ``output``, and ``curves.png`` beside it. Scores leave predictions, pictures, and the recalibration and familiarity
    that predict applies (:mod:`aqa_jax.train.report_files`); the pretext task ``confusion.png``. A run that trained
    adapters alone gets ``adapter.safetensors`` too, in its own evaluation folder.

    Returns:
      The content of ``metrics.json``.

    Raises:
      CheckpointError: the workdir has no whole checkpoint.
      StorageError: the disk is full, read-only or failing, or the workdir has vanished.
    """
    config, monitor = run.config, run.task.monitor
    checkpoints = Checkpoints(workdir / "checkpoints")
    try:
        history = history_of(checkpoints)
        chosen = choose(checkpoints, history, config.evaluate.selection, monitor)
        selections = select_all(history, monitor)
        for rule, selection in selections.items():
            if "step" in selection:
                selection |= choose(checkpoints, history, rule, monitor).to_dict()
        like, evaluated = restored_like(run), dict[int, Evaluated]()
        for selection in selections.values():
            step = selection.get("step")
            if step is None or step in evaluated:
                continue
            state = checkpoints.restore_state(step, like)
            if step == chosen.step:
                chosen_state = state
            evaluated[step] = evaluate_checkpoint(run, state, step)
    finally:
        checkpoints.close()
    best = evaluated[chosen.step]
    near = learn_familiarity(run, chosen_state, best)
    for selection in selections.values():
        if "step" in selection:
            found = evaluated[selection["step"]]
            selection |= {"test": found.figures, **found.entries()}
    content = {
        "split": "test",
        "protocol": protocol(run),
        "protocol_fingerprint": fingerprint(run),
        "selection": chosen.to_dict(),
        "config_hash": config_lib.fingerprint(config),
        "dataset_fingerprint": run.store.metadata["fingerprint"],
        "checkpoint_step": chosen.step,
        "seed": config.seed,
        "all_selections": selections,
        "videos": {split: len(rows) for split, rows in run.rows.items()},
        **best.entries(),
    }
    if near is not None:
        content["familiarity"] = report_files.familiarity_entry(near, best.outputs)
    if jax.process_index() == 0:
        if not (workdir / "trained_on.json").exists():
            # An imported model learns here what its dataset looks like, and can then score files.
            write_json(workdir / "trained_on.json", run.trained_on())
        if not checkpoints.directory.is_dir():
            raise StorageError(f"{workdir} is gone: bring it back, and the same command goes on from there.")
        (output / manifest.NAME).unlink(missing_ok=True)  # of an evaluation before
        if config.task == "score":
            report_files.write_scores(run, output, chosen, best, near)
        if config.task == "vspp":
            report_files.write_confusions(output, config.vspp.segments, best.figures)
        losses = [(line["step"], line["loss"]) for line in read_log(workdir / "logs") if "loss" in line]
        curves = output.parent / "curves.png" if output.parent == workdir else output / "curves.png"
        plots.training_curves(
            curves, losses, history, metric=monitor, selected_step=chosen.step, selected_by=chosen.rule
        )
        # Elsewhere the figures may be another config's.
        if output == workdir / "evaluation" and is_exportable(config) and training_data(workdir, chosen):
            adapter_of_state(config, workdir, chosen, chosen_state).write(output / "adapter.safetensors")
        # The metrics come last: where they are, everything is.
        figures = {"num_examples": len(run.rows["test"]), **best.figures}
        results.write_metrics(output / "metrics.json", figures, **content)
        manifest.write(output, WRITTEN)
    return {"metrics": best.figures, **content}


def summary(content: dict[str, Any]) -> str:
    """A few lines for the terminal."""
    lines = [f"test, {content['protocol']}"]
    for rule, selection in content["all_selections"].items():
        if "test" not in selection:
            lines.append(f"  {rule:<20} {selection['undefined']}")
            continue
        figures = selection["test"]
        mark = " <- headline" if rule == content["selection"]["rule"] else ""
        names = [
            n
            for n in ("rho", "rl2", "mae", "coverage_90", "mean_r2", "segment_accuracy", "pace_accuracy")
            if figures.get(n) is not None
        ]
        shown = ", ".join(f"{n} {figures[n]:.4f}" for n in names)
        intervals = figures.get("confidence") or {}
        for name in ("rho", "segment_accuracy", "pace_accuracy"):
            if (interval := intervals.get(name)) is not None:
                shown += f", {name}'s 95 % interval [{interval[0]:.3f}, {interval[1]:.3f}]"
        where = (
            f"step {selection['step']}" if "step" in selection else f"steps {', '.join(map(str, selection['steps']))}"
        )
        lines.append(f"  {rule:<20} {where}: {shown}{mark}")
    return "\n".join(lines + _trust_in_words(content))


def _trust_in_words(content: dict[str, Any]) -> list[str]:
    lines, gain = [], (content["metrics"].get("confidence") or {}).get("nll_gain")
    if (learnt := content.get("recalibration")) is not None:
        raw = learnt.get("raw")
        words = f"raw: {raw}" if raw else recalibration.Recalibration.from_dict(learnt).words
        lines.append(f"sigma and intervals: {words}")
    if gain is not None:
        mean = content["metrics"]["nll_gain"]
        lines.append(f"NLL saved by individual sigmas: {mean:.4f}, 95 % interval [{gain[0]:.4f}, {gain[1]:.4f}]")
    if (near := content.get("familiarity")) is not None:
        lines.append(f"unlike the training videos: {near['flagged']:.1%} of the test videos")
    return lines
