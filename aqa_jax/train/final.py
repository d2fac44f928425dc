"""The figures of a finished training: every selection rule's checkpoint over the test split."""

from pathlib import Path
from typing import Any

import jax

from aqa_jax import config as config_lib
from aqa_jax.errors import CheckpointError
from aqa_jax.evaluate import plots, results
from aqa_jax.evaluate.protocol import fingerprint, protocol
from aqa_jax.evaluate.selection import select, select_all
from aqa_jax.files import write_json
from aqa_jax.train.adapter import adapter_of_state, is_exportable, training_data
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.evaluation import predict_rows
from aqa_jax.train.log import read_log
from aqa_jax.train.run import Run, restored_like


def evaluate_run(run: Run, workdir: Path, output: Path) -> dict[str, Any]:
    """Evaluates the checkpoints that the selection rules choose, and writes what people look at.

    Writes ``metrics.json`` (headline figures of ``config.evaluate.selection``, and all rules' beside them),
    ``predictions.csv`` and ``scatter.png`` (the pretext task: ``confusion.png``) into ``output``, and ``curves.png``
    beside it. A run that trained adapters alone gets ``adapter.safetensors`` too, in its own evaluation folder.

    Returns:
      The content of ``metrics.json``.

    Raises:
      CheckpointError: the workdir has no checkpoint.
    """
    config, monitor = run.config, run.task.monitor
    checkpoints = Checkpoints(workdir / "checkpoints")
    try:
        if not checkpoints.steps():
            raise CheckpointError(f"{workdir} has no checkpoint: train it first, with --mode train.")
        history = checkpoints.progress(checkpoints.steps()[-1])["history"]
        chosen = select(history, config.evaluate.selection, monitor)
        selections = select_all(history, monitor)
        labels = run.labels("test")
        by_step: dict[int, dict[str, Any]] = {}
        outputs_of: dict[int, Any] = {}
        for selection in selections.values():
            step = selection.get("step")
            if step is None or step in by_step:
                continue
            state = checkpoints.restore_state(step, restored_like(run))
            if step == chosen.step:
                chosen_state = state
            outputs = predict_rows(run.output_step, state, run.batches_of("test"), name=f"test, step {step}")
            outputs.pop("row")
            outputs_of[step] = outputs
            by_step[step] = run.task.report(outputs, labels, bootstrap=config.evaluate.bootstrap)
    finally:
        checkpoints.close()
    metrics = by_step[chosen.step]
    for selection in selections.values():
        if "step" in selection:
            selection["test"] = by_step[selection["step"]]
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
    }
    if jax.process_index() == 0:
        if not (workdir / "trained_on.json").exists():
            # An imported model learns here what its dataset looks like, and can then score files.
            write_json(workdir / "trained_on.json", run.trained_on())
        if config.task == "score":
            _write_scores(run, output, outputs_of[chosen.step], metrics, f"{chosen.rule}: step {chosen.step}")
        if config.task == "vspp":
            segments = [str(n + 1) for n in range(config.vspp.segments)]
            classes = {"segment": segments, "pace": [str(pace) for pace in metrics["paces"]]}
            plots.confusions(
                output / "confusion.png", {n: (metrics[f"{n}_confusion"], names) for n, names in classes.items()}
            )
        losses = [(line["step"], line["loss"]) for line in read_log(workdir / "logs") if "loss" in line]
        curves = output.parent / "curves.png" if output.parent == workdir else output / "curves.png"
        plots.training_curves(
            curves, losses, history, metric=monitor, selected_step=chosen.step, selected_by=chosen.rule
        )
        # Elsewhere the figures may be another config's.
        if output == workdir / "evaluation" and is_exportable(config) and training_data(workdir, chosen):
            adapter_of_state(config, workdir, chosen, chosen_state).write(output / "adapter.safetensors")
        # The metrics come last: where they are, everything is.
        results.write_metrics(output / "metrics.json", {"num_examples": len(run.rows["test"]), **metrics}, **content)
    return {"metrics": metrics, **content}


def _write_scores(run: Run, output: Path, predicted: dict[str, Any], metrics: dict[str, Any], rule: str) -> None:
    table, rows = run.store.table, run.rows["test"]
    labels = run.labels("test")
    extra = {"group": table.column("group")[rows]}
    columns = results.prediction_columns(
        table.column("id")[rows],
        "test",
        labels["score"],
        predicted["mean"],
        predicted["sigma"],
        labels.get("difficulty"),
        **extra,
    )
    results.write_predictions(output / "predictions.csv", columns)
    plots.scatter(
        output / "scatter.png", labels["score"], predicted["mean"], predicted["sigma"], title=rule, metrics=metrics
    )


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
    return "\n".join(lines)
