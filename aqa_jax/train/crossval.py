"""Cross-validation: an ordinary run for every fold and seed, each in a process of its own.

A process each, because many trainings in one end in a fault of the runtime, and because a fold that brings its process
down does not bring the others down. Whatever is killed, the same command goes on: finished runs are kept, an unfinished
one resumes from its checkpoint.
"""

import contextlib
import dataclasses
import fcntl
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.config_keys import CrossvalConfig
from aqa_jax.data.splits import MIN_FOLD, folds_of, to_train_on, without
from aqa_jax.errors import AqaError, ConfigError, DataError, Interrupted, RunError
from aqa_jax.evaluate.crossval import ERROR, Member, Plan
from aqa_jax.evaluate.protocol import fingerprint, protocol
from aqa_jax.files import replacing, write_json
from aqa_jax.train import devices, final, loop
from aqa_jax.train.finished import finished_runs, is_crossval, is_finished
from aqa_jax.train.initial import initial_state
from aqa_jax.train.optimizer import make_optimizer
from aqa_jax.train.run import Run

__all__ = ["cross_validate", "finished_runs", "is_crossval", "is_finished", "plan"]

OWN_TEST_SPLIT = "test"  # the name of the only fold where no protocol is given
_TERMINATED = 143


def plan(config: Config) -> Plan:
    """Every run of the cross-validation that ``config`` describes, checked as far as is possible before any step.

    Raises:
      ConfigError, DataError, WeightsError: a run could not succeed; the message names the fold.
    """
    wanted, first = config.crossval, Run(_single(config, "", config.seed))
    data, table = config.data, first.store.table
    # A fold is what is left of it: an excluded patient is none.
    whole = {"train": to_train_on(table, data.training_split)}
    rows = without(table, whole, config_lib.excluded_ids(data))["train"]
    column, left_out, tests = "", 0, {OWN_TEST_SPLIT: data.test_where}
    if wanted.protocol:
        column = _column(wanted.protocol, first)
        values, left_out = folds_of(table, rows, column, f"config.crossval.protocol={wanted.protocol}")
        tests = {value: f"{column}={value}" for value in values}
    names = {value: "fold_" + re.sub(r"[^\w.-]", "_", value) for value in tests}
    if len(set(names.values())) < len(names):
        raise ConfigError(f"config.crossval.protocol={wanted.protocol}: folds {', '.join(tests)} need other names.")
    members = []
    for fold, where in tests.items():
        for seed in range(config.seed, config.seed + wanted.seeds):
            single = _single(config, where, seed, fold)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    run = _checked(single, first, whole=seed == config.seed)
            except AqaError as error:
                raise type(error)(f"Fold {fold}, seed {seed}: {error}") from error
            folder = f"{names[fold]}/seed_{seed}"
            members.append(Member(fold, seed, folder, single, len(run.rows["test"]), protocol(run), fingerprint(run)))
    return Plan(wanted.protocol, column, left_out, first.task.monitor, tuple(members), config)


def cross_validate(planned: Plan, workdir: Path) -> bool:
    """Trains and evaluates what is not finished yet, one run after the other; whether all are finished now.

    A run that fails leaves ``error.txt`` in its workdir, and the others go on.

    Raises:
      ConfigError: ``workdir`` belongs to something else.
      RunError: another process is at work there.
      Interrupted: after SIGTERM, with everything saved.
    """
    _keep_config(planned, workdir)
    with _locked(workdir / ".lock", wait=False), _sigterm_passed_on() as running:
        started = time.monotonic()
        todo = [member for member in planned.members if not is_finished(workdir / member.folder, member.config)]
        kept = len(planned.members) - len(todo)
        if kept:
            print(f"{kept} of {len(planned.members)} runs are finished and kept.")
        for done, member in enumerate(todo):
            spent = time.monotonic() - started
            left = f", about {_clock(spent / done * (len(todo) - done))} to go" if done else ""
            fold = f"fold {member.fold}, " if planned.column else ""
            number = f"{kept + done + 1} of {len(planned.members)}"
            print(f"Run {number}: {fold}seed {member.seed} ({_clock(spent)} elapsed{left})", flush=True)
            error = _in_a_process(member, workdir / member.folder, running)
            if error:
                print(f"  failed: {error.splitlines()[-1]}", file=sys.stderr, flush=True)
    return all(is_finished(workdir / member.folder, member.config) for member in planned.members)


def _single(config: Config, where: str, seed: int, fold: str = "") -> Config:
    """The config of one run. ``{fold}`` in the names of initial weights is its fold: each may start from its own."""
    model = dataclasses.replace(config.model, weights=config.model.weights.replace("{fold}", fold))
    adapter = dataclasses.replace(config.adapter, file=config.adapter.file.replace("{fold}", fold))
    data = dataclasses.replace(config.data, test_where=where)
    return dataclasses.replace(
        config, data=data, model=model, adapter=adapter, seed=seed, crossval=CrossvalConfig(),
        predict=dataclasses.replace(config.predict, samples=0),
    )  # fmt: skip


def _column(name: str, run: Run) -> str:
    """The column whose values are the folds of the protocol ``name``."""
    known: dict[str, str] = run.store.metadata.get("protocols", {})
    table = run.store.table
    if name in known:
        return known[name]
    columns = [column for column in table.names if table.column(column).ndim == 1]
    if name not in columns:
        named = f"the protocols {', '.join(known)}, or " if known else ""
        raise ConfigError(
            f"config.crossval.protocol={name!r}: {run.config.data.builder} has no such protocol or column; there are "
            f"{named}the columns {', '.join(columns)}."
        )
    return name


def _checked(config: Config, first: Run, *, whole: bool) -> Run:
    """The run of ``config``, after all that can be checked cheaply; ``whole``: its initial weights too."""
    run = Run(config)
    run.store = first.store
    if len(run.rows["test"]) < MIN_FOLD:
        raise DataError(f"{len(run.rows['test'])} test videos: rho needs at least {MIN_FOLD}.")
    loop.check_selectable(run)
    total, _ = loop.lengths(run)
    run.batches_of("test")
    if whole:
        initial_state(run, make_optimizer(config.optimizer, total))
    return run


def _keep_config(planned: Plan, workdir: Path) -> None:
    """Writes the config of the whole into ``workdir``; more seeds may be added later."""
    if (workdir / "checkpoints").exists():
        raise ConfigError(f"{workdir} is the workdir of a single run: give --mode crossval another one.")
    path, config = workdir / "config.json", planned.config
    if path.exists():
        kept = config_lib.resolve(config_lib.read_json(path))
        same = dataclasses.replace(kept, crossval=dataclasses.replace(kept.crossval, seeds=config.crossval.seeds))
        # Where the folds are chosen here, the config's own choice of test videos has no say.
        if config.crossval.protocol:
            same = dataclasses.replace(same, data=dataclasses.replace(same.data, test_where=config.data.test_where))
        if config_lib.fingerprint(same) != config_lib.fingerprint(config) or same.crossval != config.crossval:
            changed = config_lib.differences(same, config, of_results=True)
            changed += [d for d in config_lib.differences(same, config) if d.startswith("config.crossval.")]
            raise ConfigError(
                f"{workdir} belongs to another config:\n  " + "\n  ".join(changed) + "\n"
                "Give the same config to go on with it, or another --workdir."
            )
    write_json(path, json.loads(config_lib.to_json(config)))


def _in_a_process(member: Member, folder: Path, running: "_Running") -> str:
    """Runs one member; the error, or nothing."""
    (folder / ERROR).unlink(missing_ok=True)
    arguments = (config_lib.to_json(member.config), str(folder), jax.config.values["jax_compilation_cache_dir"])
    process = multiprocessing.get_context("spawn").Process(target=_member, args=arguments, daemon=True)
    running.start(process)
    process.join()
    code = process.exitcode
    running.stop()
    if running.terminated:
        raise Interrupted("SIGTERM: everything is saved; the same command goes on from there.")
    if not code:
        return ""
    if not (folder / ERROR).exists():
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        _write_error(folder, f"RunError: the process of this run ended with {how}.\n")
    return (folder / ERROR).read_text().strip()


def _member(config_json: str, folder: str, cache: str | None) -> None:
    """What the process of a run does."""
    from absl import flags, logging

    # Ctrl-C comes to the parent too, which then asks this process to save and stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    flags.FLAGS.mark_as_parsed()  # Grain reads flags
    logging.set_verbosity(logging.ERROR)
    jax.config.update("jax_compilation_cache_dir", cache)
    config = config_lib.resolve(json.loads(config_json))
    devices.share_among_cores(config)
    sys.exit(guarded(config, Path(folder)))


def guarded(config: Config, workdir: Path) -> int:
    """One run, whole; its exit code. What went wrong is written into ``workdir``."""
    try:
        # The writer before may not be quite dead.
        with _locked(workdir / ".lock", wait=True):
            final.evaluate_run(loop.train(config, workdir), workdir, workdir / "evaluation")
    except Interrupted:
        return _TERMINATED
    except AqaError as error:
        _write_error(workdir, f"{type(error).__name__}: {error}\n")
        return 1
    except Exception:
        # A fault of any kind ends this run alone: it is kept whole, the exit code says so, and the others go on.
        _write_error(workdir, traceback.format_exc())
        return 1
    return 0


def _die_with_parent() -> None:
    """No life after the parent's, even where that was killed: a resumed crossval must be the only writer."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_error(folder: Path, text: str) -> None:
    with replacing(folder / ERROR) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Holds a lock file, which the system frees when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise RunError(f"Another cross-validation is at work in {path.parent}.") from None
        yield


class _Running:
    """The process that is running now, if any, and whether SIGTERM came."""

    def __init__(self) -> None:
        self.process: Any = None
        self.terminated = False

    def start(self, process: Any) -> None:
        self.process = process
        process.start()
        if self.terminated:
            process.terminate()

    def stop(self) -> None:
        self.process = None

    def terminate(self, *_: Any) -> None:
        self.terminated = True
        if self.process is not None and self.process.is_alive():
            self.process.terminate()


@contextlib.contextmanager
def _sigterm_passed_on() -> Iterator[_Running]:
    """Passes SIGTERM and Ctrl-C on to the running process, which saves its state and ends."""
    running = _Running()
    if threading.current_thread() is not threading.main_thread():
        yield running
        return
    before = {number: signal.signal(number, running.terminate) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield running
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"
