"""The checkpoint of a run that its selection rule chooses."""

from pathlib import Path

from aqa_jax.errors import CheckpointError
from aqa_jax.evaluate.selection import Selection, select
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.run import Run, restored_like
from aqa_jax.train.state import State


def restore_chosen(run: Run, workdir: Path) -> tuple[Selection, State]:
    """What ``config.evaluate.selection`` chooses, and the model's arrays there.

    Raises:
      CheckpointError: there is no checkpoint, or it does not fit the run's config.
    """
    checkpoints = Checkpoints(workdir / "checkpoints")
    try:
        if not checkpoints.steps():
            raise CheckpointError(f"{workdir} has no checkpoint: train it first, with --mode train.")
        history = checkpoints.progress(checkpoints.steps()[-1])["history"]
        chosen = select(history, run.config.evaluate.selection, run.task.monitor)
        return chosen, checkpoints.restore_state(chosen.step, restored_like(run))
    finally:
        checkpoints.close()
