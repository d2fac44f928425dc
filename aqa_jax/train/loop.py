"""The training loop.

Every step, in this order: take a batch (its frames are on the devices already), dispatch the update, read the figures
of the step before. Every so often, in this order: evaluate, save (state, position of the input, evaluations so far), go
on. The step is compiled once, and nothing goes between host and devices that is not asked for.
"""

import contextlib
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aqa_jax import compilation
from aqa_jax.config import Config
from aqa_jax.errors import ConfigError, DataError, Interrupted, RunError
from aqa_jax.evaluate.metrics import why_no_ranks
from aqa_jax.evaluate.selection import select_all
from aqa_jax.files import read_json, write_json
from aqa_jax.train import state as states
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.evaluation import check_outputs, predict_rows
from aqa_jax.train.exemplars import refreshed
from aqa_jax.train.feed import Feed
from aqa_jax.train.finished import TRAINED_ON
from aqa_jax.train.initial import initial_state
from aqa_jax.train.lock import only_writer
from aqa_jax.train.log import Stopwatch, TrainLog
from aqa_jax.train.optimizer import make_optimizer
from aqa_jax.train.run import Run, keep_config
from aqa_jax.train.step import make_train_step
from aqa_jax.train.stop import on_sigterm

History = list[dict[str, Any]]


def train(config: Config, workdir: Path) -> Run:
    """Trains to the end, from the newest checkpoint in ``workdir`` if there is one.

    Raises:
      ConfigError, DataError, WeightsError: before the first step, where the run could not succeed.
      RunError: a loss is not finite; step and videos are named, and the last checkpoint is from before. Or another
        process trains in ``workdir``.
      StorageError: the disk is full, read-only or failing; the checkpoints before are whole.
      Interrupted: after SIGTERM, with everything saved; on several hosts after the same step, whichever it reached.
    """
    run = Run(config)
    _check_devices(run)
    _check_chunk(run)
    keep_config(config, workdir)
    with only_writer(workdir) if jax.process_index() == 0 else contextlib.nullcontext():
        _train(run, workdir)
    return run


def _train(run: Run, workdir: Path) -> None:
    config, (total, every) = run.config, lengths(run)
    check_selectable(run)
    optimizer = make_optimizer(config.optimizer, total)
    run.batches_of("test")  # A test split that cannot be read should say so now.
    iterator = run.batches_for_training()
    checkpoints = Checkpoints(workdir / "checkpoints")
    state, history = _begin(run, optimizer, iterator, checkpoints, workdir, total)
    begun = int(state["step"])
    log = TrainLog(workdir / "logs", begun, total, enabled=jax.process_index() == 0)
    with on_sigterm() as stop:
        try:
            _loop(run, state, optimizer, iterator, checkpoints, history, log, total, every, stop)
        finally:
            try:
                log.close()
            finally:
                checkpoints.close()
        if stop.now():  # too late for the last step to see it
            raise Interrupted(f"SIGTERM: all {total} steps are saved; the same command goes on from there.")


def _begin(run, optimizer, iterator, checkpoints, workdir, total) -> tuple[states.State, History]:
    """The state to go on from and the evaluations so far: those of the newest whole checkpoint, or the first ones.

    Initial weights (``config.model.weights``, ``config.adapter.file``) are read for the first step alone: a training
    that goes on has its checkpoint's, whatever became of the file.
    """
    like = states.abstract_start(run.assembler.abstract, optimizer)
    had_checkpoints = bool(checkpoints.steps())
    if had_checkpoints:
        _check_same_data(run, workdir)
    resumed = checkpoints.resume(like, iterator)
    first = jax.process_index() == 0
    if resumed is None:
        if had_checkpoints and first:
            print("WARNING: no checkpoint is whole: the training starts again at its first step.", file=sys.stderr)
        state, history = initial_state(run, optimizer), []
    else:
        state, history = resumed[0], resumed[1]["history"]
        if not (workdir / "trained_on.json").exists():
            initial_state(run, optimizer)  # Lost: what the initial weights were trained on is learnt again.
    if first:
        if resumed is None or not (workdir / "trained_on.json").exists():
            write_json(workdir / "trained_on.json", run.trained_on())
        print(states.parameter_table(state, run.assembler.parameters), flush=True)
    if resumed is not None and first:
        print(f"Going on from step {int(state['step'])} of {total}.", flush=True)
    return state, history


def _check_same_data(run: Run, workdir: Path) -> None:
    """Raises DataError where a training would go on with another dataset than it began with."""
    path = workdir / "trained_on.json"
    if path.exists() and (before := read_json(path, TRAINED_ON)["fingerprint"]) != run.store.metadata["fingerprint"]:
        raise DataError(
            f"{workdir} was trained so far on a dataset with the fingerprint {before[:12]}; the one in "
            f"{run.store.directory} has {run.store.metadata['fingerprint'][:12]}. Build it as it was, or choose "
            "another --workdir."
        )


def _loop(run, state, optimizer, iterator, checkpoints, history, log, total, every, stop) -> None:
    first = int(state["step"]) + 1
    with contextlib.closing(Feed(iterator, total + 1 - first)) as feed:
        _steps(run, state, optimizer, feed, checkpoints, history, log, range(first, total + 1), every, stop)


def _steps(run, state, optimizer, feed, checkpoints, history, log, steps, every, stop) -> None:
    config, total = run.config, steps.stop - 1
    step_fn = compilation.CompiledOnce(make_train_step(run.task, run.assembler, optimizer, total, config.seed))
    watch, pending, figures, compiled = Stopwatch(), None, None, False
    for step in steps:
        fed, waited = feed.take(figures)
        watch.waited += waited
        started, hits = time.perf_counter(), compilation.cache_hits()
        state, figures = step_fn(state, fed.batch)
        if not compiled:
            jax.block_until_ready(state)
            compiled = True
            log.compiled(step, time.perf_counter() - started, compilation.cache_hits() > hits)
            watch.restart()
        if pending is not None:
            _read(run, log, watch, *pending)
        pending = (step, figures, fed.rows)
        evaluate, stopping = step % every == 0 or step == total, stop.after_step()
        also = config.train.checkpoint_every
        if evaluate or stopping or (also and step % also == 0):
            _read(run, log, watch, *pending)
            pending = None
            if evaluate:
                # The checkpoints that count are those of the history: their exemplars are as new as their weights.
                state = refreshed(run, state)
                history.append({"step": step, **_evaluate(run, state, log)})
                log.write(step, _flat(history[-1]), "evaluate")
            _check_finite(run, state, step, fed.rows)
            kept = {choice["step"] for choice in select_all(history, run.task.monitor).values() if "step" in choice}
            # A copy, for the next step donates these arrays while they are still being written.
            checkpoints.save(step, states.copied(state), fed.position, {"history": history}, kept)
            stopping = stop.now()  # An evaluation is long: what was asked for meanwhile needs no further step.
            watch.restart()
        if stopping:
            raise Interrupted(f"SIGTERM: step {step} of {total} is saved; the same command goes on from there.")


def _read(
    run: Run, log: TrainLog, watch: Stopwatch, step: int, figures: dict[str, jax.Array], rows: np.ndarray
) -> None:
    """Reads a finished step's figures and stops the run if its loss is not a number."""
    log.advance(step)
    numbers = {name: float(value) for name, value in jax.device_get(figures).items()}
    loss = numbers["loss"]
    if not (math.isfinite(loss) and math.isfinite(numbers["gradient_norm"])):
        raise _not_finite(run, step, rows, f"the loss is {loss} and the gradient's norm {numbers['gradient_norm']}")
    every = run.config.train.log_every
    if step % every == 0 or step == 1:
        log.write(step, numbers | watch.read(every if step > 1 else 1))


def _check_finite(run: Run, state: states.State, step: int, rows: np.ndarray) -> None:
    """Refuses to save what no training can go on from: an update can overflow under a finite loss and gradient."""
    if bad := states.not_finite(state):
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise _not_finite(run, step, rows, f"{', '.join(bad[:3])}{more} became NaN or infinite")


def _not_finite(run: Run, step: int, rows: np.ndarray, what: str) -> RunError:
    ids = ", ".join(str(run.store.table.column("id")[row]) for row in rows)
    return RunError(
        f"Step {step}: {what}. Videos of the batch: {ids}. The last checkpoint is from before; a lower "
        "config.optimizer.learning_rate or config.optimizer.clip_norm=1.0 usually helps."
    )


def _evaluate(run: Run, state: states.State, log: TrainLog) -> dict[str, Any]:
    splits = ["validation"] if len(run.rows["validation"]) else []
    if run.config.evaluate.track_test:
        splits.append("test")
    result = {}
    for split in splits:
        outputs = predict_rows(run.output_step, state, run.batches_of(split), name=split)
        check_outputs(outputs, run.store.table.column("id"), f"Step {int(state['step'])}, {split}")
        outputs.pop("row")
        result[split] = run.task.report(outputs, run.labels(split), bootstrap=0)
        value = result[split][run.task.monitor]
        log.say(f"{split}: {run.task.monitor} {'undefined' if value is None else f'{value:.4f}'}")
    return result


def _flat(entry: dict[str, Any]) -> dict[str, float]:
    return {
        f"{split}_{name}": value
        for split, figures in entry.items()
        if isinstance(figures, dict)
        for name, value in figures.items()
        if isinstance(value, int | float)
    }


def lengths(run: Run) -> tuple[int, int]:
    """Steps in all, and between evaluations."""
    train, videos = run.config.train, len(run.rows["train"])
    if videos < train.batch_size:
        raise ConfigError(f"config.train.batch_size={train.batch_size}, but there are {videos} training videos.")
    # With pairs an epoch has every video once as the first of a pair (CoRe's), and as many partners beside.
    epoch = videos * run.config.data.repeats / (train.batch_size / 2 if run.paired else train.batch_size)
    total = train.steps or math.ceil(train.epochs * epoch)
    if total < 1:
        raise ConfigError("Nothing to train: set config.train.epochs or config.train.steps.")
    return total, min(train.evaluate_every or max(round(epoch), 1), total)


def _check_devices(run: Run) -> None:
    size, devices = run.config.train.batch_size, jax.device_count()
    if size % devices:
        raise ConfigError(f"config.train.batch_size={size} cannot be shared by {devices} devices.")
    if run.paired and size % (2 * devices):
        raise ConfigError(
            f"config.train.batch_size={size} cannot hold pairs of videos on {devices} device(s), and "
            f"config.head.name={run.config.head.name} compares pairs: choose a multiple of {2 * devices}."
        )


def _check_chunk(run: Run) -> None:
    chunk = run.config.train.clip_chunk
    clips = run.config.train.batch_size // jax.device_count() * run.batch_shape[0]
    if chunk and clips % chunk:
        divisors = ", ".join(str(n) for n in range(1, clips + 1) if clips % n == 0)
        raise ConfigError(
            f"config.train.clip_chunk={chunk} does not divide the {clips} clips that each device has of a batch: "
            f"choose one of {divisors}."
        )


def check_selectable(run: Run) -> None:
    """Refuses a training at whose end no step could be chosen."""
    rule = run.config.evaluate.selection
    split = rule.removeprefix("best_on_")
    if run.task.monitor != "rho" or split not in run.rows:
        return
    if why := why_no_ranks(run.labels(split)["score"]):
        raise ConfigError(
            f"config.evaluate.selection={rule} goes by a rank correlation, which the {split} split does not have: "
            f"{why}. Choose config.evaluate.selection=last, or other videos for that split "
            "(config.data.validation_fraction, config.data.validation_by, config.data.test_where)."
        )
