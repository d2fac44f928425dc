"""The checkpoint of a run that its selection rule chooses, among those that are whole."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aqa_jax.errors import CheckpointError, RunError
from aqa_jax.evaluate.selection import Selection, select
from aqa_jax.train.checkpoints import Checkpoints, in_words
from aqa_jax.train.run import Run, restored_like
from aqa_jax.train.state import State

History = Sequence[Mapping[str, Any]]


def restore_chosen(run: Run, workdir: Path, *, on_host: bool = False) -> tuple[Selection, State]:
    """What ``config.evaluate.selection`` chooses, and the model's arrays there (``on_host``: as numpy's).

    Raises:
      CheckpointError: there is no whole checkpoint, or it does not fit the run's config.
    """
    checkpoints = Checkpoints(workdir / "checkpoints")
    try:
        chosen = choose(checkpoints, history_of(checkpoints), run.config.evaluate.selection, run.task.monitor)
        return chosen, checkpoints.restore_state(chosen.step, restored_like(run), on_host=on_host)
    finally:
        checkpoints.close()


def history_of(checkpoints: Checkpoints) -> History:
    """The evaluations of a run, as its newest whole checkpoint has them.

    Raises:
      CheckpointError: there is none.
    """
    newest = checkpoints.newest_whole("progress")
    if newest is None:
        where = checkpoints.directory.parent
        if checkpoints.steps():
            raise CheckpointError(f"{where}: none of the checkpoints {checkpoints.steps()} is whole. Train again.")
        raise CheckpointError(f"{where} has no checkpoint: train it first, with --mode train.")
    return checkpoints.progress(newest)["history"]


def choose(checkpoints: Checkpoints, history: History, rule: str, metric: str) -> Selection:
    """As :func:`aqa_jax.evaluate.selection.select`, among the whole steps; damaged ones are named in ``passed_over``.

    Those after the newest step of ``history`` count as passed over too: what was evaluated there is lost with them.

    Raises:
      RunError: no evaluation has a value to go by.
      CheckpointError: none of the steps that have one is whole.
    """
    lost = [step for step in checkpoints.steps() if checkpoints.faults(step, "progress")]
    passed_over = [step for step in lost if not history or step > max(entry["step"] for entry in history)]
    first = chosen = select(history, rule, metric)
    while problems := checkpoints.faults(chosen.step, "state"):
        if chosen == first or chosen.step in checkpoints.steps():
            passed_over.append(chosen.step)
            print(
                f"WARNING: {rule} chooses step {chosen.step}, which cannot be used: {in_words(problems)}. "
                "The next best step takes its place, and the results say so.", file=sys.stderr, flush=True,
            )  # fmt: skip
        history = [entry for entry in history if entry["step"] != chosen.step]
        try:
            chosen = select(history, rule, metric)
        except RunError:
            raise CheckpointError(
                f"{checkpoints.directory.parent}: of the steps that {rule} can choose none is whole "
                f"({', '.join(map(str, passed_over))}). Choose config.evaluate.selection=last, or train again."
            ) from None
    return dataclasses.replace(chosen, passed_over=tuple(sorted(set(passed_over))))
