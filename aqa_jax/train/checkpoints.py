"""Checkpoints of a training, by Orbax.

A step's directory holds ``state`` (the model's arrays), ``optimizer``, ``data`` (the input iterator's position, one
file per host) and ``progress`` (JSON: the evaluations so far). Plain Orbax restores the arrays::

    import orbax.checkpoint as ocp
    with ocp.CheckpointManager(RUN + "/checkpoints") as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        arrays = manager.restore(manager.latest_step(), args=args)["state"]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from aqa_jax.errors import CheckpointError
from aqa_jax.train.state import State, abstract


class _KeepNamed:
    """Keeps the steps that the loop names: the newest ones and the best by each rule."""

    def __init__(self):
        self.steps: set[int] = set()

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """For each checkpoint, whether it stays; the newest two always do."""
        newest = sorted(info.step for info in checkpoints)[-2:]
        return [info.step in self.steps or info.step in newest for info in checkpoints]


class Checkpoints:
    """The checkpoints under one directory, written in the background."""

    def __init__(self, directory: Path):
        """Opens ``directory``, made if missing."""
        self.directory = directory.absolute()
        self._keep = _KeepNamed()
        options = ocp.CheckpointManagerOptions(preservation_policy=self._keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def steps(self) -> list[int]:
        """The finished checkpoints' steps, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: State, data: Any, progress: dict[str, Any], keep: set[int]) -> None:
        """Starts saving ``state`` and the iterator ``data``; afterwards only the steps ``keep`` and the newest stay."""
        self._keep.steps = set(keep)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_global(_model(state))),
                optimizer=ocp.args.StandardSave(_global(state["optimizer"])),
                data=grain.checkpoint.CheckpointSave(data),
                progress=ocp.args.JsonSave(progress),
            ),
            force=True,
        )

    def save_model(self, step: int, state: State, progress: dict[str, Any]) -> None:
        """Saves a model that no training stands behind: neither optimizer nor data."""
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress))
        self._manager.save(step, args=args, force=True)

    def restore_state(self, step: int, like: State) -> State:
        """The model's arrays of ``step``, replicated over the devices there are now.

        Raises:
          CheckpointError: there is no such step, or its tree, shapes or dtypes are not those of ``like``.
        """
        return self._restore(step, state=ocp.args.StandardRestore(abstract(_model(like))))["state"]

    def restore(self, step: int, like: State, data: Any) -> tuple[State, dict[str, Any]]:
        """State and progress of ``step``; moves the iterator ``data`` to where it was."""
        restored = self._restore(
            step,
            state=ocp.args.StandardRestore(abstract(_model(like))),
            optimizer=ocp.args.StandardRestore(abstract(like["optimizer"])),
            data=grain.checkpoint.CheckpointRestore(data),
            progress=ocp.args.JsonRestore(),
        )
        return {**restored["state"], "optimizer": restored["optimizer"]}, restored["progress"]

    def progress(self, step: int) -> dict[str, Any]:
        """The evaluations up to ``step``."""
        return self._restore(step, progress=ocp.args.JsonRestore())["progress"]

    def _restore(self, step: int, **items: Any) -> Any:
        if step not in self._manager.all_steps():
            raise CheckpointError(
                f"{self.directory} has no checkpoint of step {step}; it has {self.steps() or 'none'}."
            )
        try:
            return _local(self._manager.restore(step, args=ocp.args.Composite(**items)))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CheckpointError(
                f"{self.directory / str(step)} does not fit this model or is damaged: {str(error)[:600]}\n"
                "Was config.model or config.head changed since? If it is damaged, remove this step's directory; "
                f"the others are {[s for s in self.steps() if s != step] or 'none'}."
            ) from error

    def wait(self) -> None:
        """Returns when the save under way is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and lets go of the directory."""
        self._manager.wait_until_finished()
        self._manager.close()


def _global(tree: Any) -> Any:
    """With several hosts, Orbax wants arrays that all of them share; pmap gives each host its own."""
    if jax.process_count() == 1:
        return tree
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    return multihost_utils.host_local_array_to_global_array(tree, mesh, jax.sharding.PartitionSpec())


def _local(restored: Any) -> Any:
    """The way back: what this host's devices hold."""
    if jax.process_count() == 1:
        return restored
    arrays = {name: restored[name] for name in ("state", "optimizer") if name in restored}
    local = jax.tree.map(lambda x: x.addressable_data(0), arrays)
    return {**{name: restored[name] for name in restored.keys()}, **local}  # noqa: SIM118


def _model(state: State) -> State:
    return {name: value for name, value in state.items() if name != "optimizer"}
