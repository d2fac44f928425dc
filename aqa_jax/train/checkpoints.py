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
        import grain

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
        self._check(step, "state", _model(like))
        return self._restore(step, state=ocp.args.StandardRestore(abstract(_model(like))))["state"]

    def restore(self, step: int, like: State, data: Any) -> tuple[State, dict[str, Any]]:
        """State and progress of ``step``; moves the iterator ``data`` to where it was."""
        import grain

        self._check(step, "state", _model(like))
        self._check(step, "optimizer", like["optimizer"])
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

    def _check(self, step: int, item: str, like: Any) -> None:
        """Refuses a checkpoint of another model in words, before Orbax reads any of it."""
        self._check_there(step)
        try:
            with ocp.StandardCheckpointer() as reader:
                found = _shapes(reader.metadata(self.directory / str(step) / item).item_metadata.tree)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise CheckpointError(f"{self.directory / str(step) / item} is damaged: {error}") from error
        wanted = _shapes(like)
        problems = [f"{name} is missing" for name in wanted.keys() - found.keys()]
        problems += [f"{name} is not in this model" for name in found.keys() - wanted.keys()]
        for name in wanted.keys() & found.keys():
            if wanted[name] != found[name]:
                problems.append(f"{name} is {_said(found[name])}, in this model {_said(wanted[name])}")
        if problems:
            raise CheckpointError(
                f"{self.directory / str(step)} does not fit this model, {len(problems)} differences: "
                + "; ".join(sorted(problems)[:5])
                + ". Was config.model, config.head or config.optimizer changed since?"
            )

    def _check_there(self, step: int) -> None:
        if step not in self._manager.all_steps():
            raise CheckpointError(
                f"{self.directory} has no checkpoint of step {step}; it has {self.steps() or 'none'}."
            )

    def _restore(self, step: int, **items: Any) -> Any:
        self._check_there(step)
        try:
            return _local(self._manager.restore(step, args=ocp.args.Composite(**items)))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CheckpointError(
                f"{self.directory / str(step)} is damaged: {str(error)[:600]}\n"
                f"Remove this step's directory; the others are {[s for s in self.steps() if s != step] or 'none'}."
            ) from error

    def close(self) -> None:
        """Waits, and lets go of the directory."""
        self._manager.wait_until_finished()
        self._manager.close()


def _shapes(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    return {name: (tuple(leaf.shape), str(np.dtype(leaf.dtype))) for name, leaf in named.items()}


def _said(shape_and_dtype: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = shape_and_dtype
    return f"{dtype} {list(shape)}"


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
