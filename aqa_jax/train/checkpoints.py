"""Checkpoints of a training, by Orbax.

A step's directory holds ``state`` (the model's arrays), ``optimizer``, ``data`` (the input iterator's position, one
file per host), ``progress`` (JSON: the evaluations so far) and ``manifest.json`` (the sha256 of every file). What is
restored is compared with the manifest first. Plain Orbax restores the arrays::

    import orbax.checkpoint as ocp
    with ocp.CheckpointManager(RUN + "/checkpoints") as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        arrays = manager.restore(manager.latest_step(), args=args)["state"]
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from aqa_jax.errors import CheckpointError, StorageError
from aqa_jax.train import manifest
from aqa_jax.train.state import State, abstract, abstract_trees, replicated, with_trees, with_vectors

TRAINING = ("state", "optimizer", "data", "progress")
"""The parts of a checkpoint that a training goes on from."""
_DISK_WORDS = ("No space left", "RESOURCE_EXHAUSTED", "Read-only", "Input/output error", "Permission denied", "quota")
SET_ASIDE = "damaged_checkpoints"
"""Where a training that goes on moves what it cannot use, beside ``checkpoints``."""


class DamagedError(CheckpointError):
    """A step's files are not those that were written."""


class _KeepNamed:
    """Keeps the steps that the loop names: the newest ones and the best by each rule."""

    def __init__(self):
        self.steps: set[int] = set()

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """For each checkpoint, whether it stays; the newest two always do."""
        newest = sorted(info.step for info in checkpoints)[-2:]
        return [info.step in self.steps or info.step in newest for info in checkpoints]


class _WithManifest(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """A step under its temporary name: it gets the manifest, then its own name. Its parts' directories do without."""

    async def finalize(self) -> None:
        if self.get_final().name.isdigit():
            await asyncio.to_thread(manifest.write, Path(self.get()))
        await super().finalize()


class Checkpoints:
    """The checkpoints under one directory, written in the background.

    Reading needs no right to write: the directory is made, and what a kill left half written removed, by the first
    :meth:`save`.
    """

    def __init__(self, directory: Path):
        """Opens ``directory``, which may be missing."""
        self.directory = directory.absolute()
        self._keep = _KeepNamed()
        self._opened = False
        self._faults: dict[tuple[int, str], list[str]] = {}
        self._unreadable: dict[int, str] = {}

    @cached_property
    def _manager(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._keep, enable_async_checkpointing=True, cleanup_tmp_directories=True,
            temporary_path_class=_WithManifest,
        )  # fmt: skip
        manager = ocp.CheckpointManager(self.directory, options=options)
        self._opened = True
        return manager

    def steps(self) -> list[int]:
        """The steps that have a directory, ascending; whether they are whole, :meth:`faults` says."""
        return sorted(int(path.name) for path in self.directory.glob("[0-9]*") if path.name.isdigit())

    def faults(self, step: int, *parts: str) -> list[str]:
        """What is wrong with the ``parts`` of ``step`` (none named: with all of it); empty if they are whole.

        Files are hashed once. A step of an earlier version has no manifest: only its emptiness can be noticed.
        """
        directory = self.directory / str(step)
        if not directory.is_dir():
            return ["it is not there"]
        if step in self._unreadable:
            return [self._unreadable[step]]
        if not self.has_manifest(step):
            empty = [part for part in parts or ("state",) if not any(_files(directory / part))]
            return [f"{part} is missing" for part in empty]
        found = []
        for part in parts or ("",):
            if (step, part) not in self._faults:
                self._faults[step, part] = manifest.faults(directory, (part,) if part else ())
            found += self._faults[step, part]
        return list(dict.fromkeys(found))

    def has_manifest(self, step: int) -> bool:
        """Whether ``step`` was written with a manifest, even if that is lost; earlier versions wrote none."""
        directory = self.directory / str(step)
        try:
            about = json.loads((directory / "_CHECKPOINT_METADATA").read_text())
            return manifest.has(directory) or bool(about.get("custom_metadata", {}).get("manifest"))
        except (OSError, ValueError, AttributeError):
            return True  # Orbax wrote this file in every version: without it something is wrong.

    def resume(self, like: State, data: Any) -> tuple[State, dict[str, Any]] | None:
        """State and progress of the newest whole step, and moves ``data`` there; None if there is none.

        Later steps are damaged then: that is said, and they are moved out of the way, into ``damaged_checkpoints``
        beside.

        Raises:
          CheckpointError: the newest whole step is of another model.
        """
        restored, step = None, self.newest_whole(*TRAINING)
        while step is not None and restored is None:
            # Orbax' hosts wait for one another when they read: so before, each looks at the files as it sees them.
            if self._whole_on_all_hosts(step):
                with suppress(DamagedError):
                    restored = self.restore(step, like, data)
            if not self._on_all_hosts(restored is not None):
                restored = None
                self._unreadable.setdefault(step, "another host finds it damaged")
                step = self.newest_whole(*TRAINING)
        later = [other for other in self.steps() if step is None or other > step]
        if later and jax.process_index() == 0:
            self._set_aside(later)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints set aside")
        return restored

    def _whole_on_all_hosts(self, step: int) -> bool:
        # The first one has looked already.
        problems = self.faults(step, *TRAINING) if jax.process_index() else []
        if problems:
            _say(f"Host {jax.process_index()} finds the checkpoint of step {step} damaged: {in_words(problems)}.")
        return self._on_all_hosts(not problems)

    def _on_all_hosts(self, true: bool) -> bool:
        return true if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.bool_(true)).all())

    def newest_whole(self, *parts: str) -> int | None:
        """The newest step whose ``parts`` are whole; what is wrong with those after it is printed.

        Several hosts get the first one's answer.
        """
        found = -1
        if jax.process_index() == 0:
            for step in reversed(self.steps()):
                if not (problems := self.faults(step, *parts)):
                    found = step
                    if not self.has_manifest(step):
                        _say(f"Step {step} has no manifest (an earlier version wrote it): used unverified.")
                    break
                _say(f"The checkpoint of step {step} is passed over: {in_words(problems)}.")
        if jax.process_count() > 1:
            found = int(multihost_utils.broadcast_one_to_all(np.int32(found)))
        return None if found < 0 else found

    def _set_aside(self, steps: list[int]) -> None:
        """Moves the directories of ``steps`` away: the training will come to these steps again."""
        folder = self.directory.parent / SET_ASIDE
        for step in steps:
            folder.mkdir(exist_ok=True)
            number = 0
            while (target := folder / f"{step}{f'_{number}' if number else ''}").exists():
                number += 1
            os.rename(self.directory / str(step), target)
            _say(f"It is kept in {target}; nothing reads it.")

    def save(self, step: int, state: State, data: Any, progress: dict[str, Any], keep: set[int]) -> None:
        """Starts saving ``state`` and the iterator ``data``; afterwards only the steps ``keep`` and the newest stay.

        Raises:
          StorageError: this or the save before could not be written; the steps before are whole.
        """
        import grain

        self._keep.steps = set(keep)
        self._save(
            step,
            ocp.args.Composite(
                state=ocp.args.StandardSave(_global(_model(state))),
                optimizer=ocp.args.StandardSave(_global(with_trees(state)["optimizer"])),
                data=grain.checkpoint.CheckpointSave(data),
                progress=ocp.args.JsonSave(progress),
            ),
        )

    def save_model(self, step: int, state: State, progress: dict[str, Any]) -> None:
        """Saves a model that no training stands behind: neither optimizer nor data."""
        self._save(step, ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)))

    def _save(self, step: int, args: ocp.args.Composite) -> None:
        if self._opened and not self.directory.is_dir():
            # Orbax would make it anew, and the run would end without its beginning.
            raise StorageError(f"{self.directory} is gone: bring it back, and the same command goes on from there.")
        with self._writing(step):
            self._manager.save(step, args=args, force=True, custom_metadata={"manifest": manifest.SCHEMA})

    @contextmanager
    def _writing(self, step: int | None = None) -> Iterator[None]:
        """Errors of the disk, in words."""
        try:
            yield
        # TensorStore wraps what the system says into a ValueError.
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) and not any(word in str(error) for word in _DISK_WORDS):
                raise
            which = "A checkpoint" if step is None else f"The checkpoint of step {step}, or the one before,"
            raise StorageError(
                f"{which} could not be written to {self.directory}: {str(error)[:300]}\n"
                f"Whole are the steps {[s for s in self.steps() if not self.faults(s)] or 'none'}; make room or "
                "mend the disk, and the same command goes on from there."
            ) from error

    def restore_state(self, step: int, like: State, *, on_host: bool = False) -> State:
        """The model's arrays of ``step``, replicated over the devices there are now.

        Args:
          step: one of :meth:`steps`.
          like: shapes and dtypes.
          on_host: as numpy's arrays, in half the time; in a process that is alone.

        Raises:
          DamagedError: there is no such step, or its files are not those that were written.
          CheckpointError: its tree, shapes or dtypes are not those of ``like``.
        """
        self._check(step, "state", _model(like))
        if on_host:
            kinds = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), _model(like))
            return self._restore(step, state=ocp.args.PyTreeRestore(item=_model(like), restore_args=kinds))["state"]
        return self._restore(step, state=ocp.args.StandardRestore(abstract(_model(like))))["state"]

    def restore(self, step: int, like: State, data: Any) -> tuple[State, dict[str, Any]]:
        """State and progress of ``step``; moves the iterator ``data`` to where it was. Raises as `restore_state`."""
        optimizer = abstract_trees(like)["optimizer"]
        self._check(step, "state", _model(like))
        self._check(step, "optimizer", optimizer)
        restored = self._restore(
            step,
            state=ocp.args.StandardRestore(abstract(_model(like))),
            optimizer=ocp.args.StandardRestore(abstract(optimizer)),
            progress=ocp.args.JsonRestore(),
        )
        data.set_state(self._position(step))
        state = with_vectors({**restored["state"], "optimizer": restored["optimizer"]})
        return {**state, "optimizer": replicated(state["optimizer"])}, restored["progress"]

    def _position(self, step: int) -> Any:
        """Where the input stood: the same number of batches on every host, so any number of hosts can go on from it."""
        self._check_whole(step, "data")
        try:
            files = sorted((self.directory / str(step) / "data").glob("process_*.json"))
            positions = [json.loads(file.read_text()) for file in files]
        except (OSError, ValueError) as error:
            raise self._damaged(step, error) from error
        if not positions or any(position != positions[0] for position in positions):
            raise self._damaged(step, ValueError(f"{len(positions)} positions of the input that differ, or none"))
        return positions[0]

    def progress(self, step: int) -> dict[str, Any]:
        """The evaluations up to ``step``."""
        return self._restore(step, progress=ocp.args.JsonRestore())["progress"]

    def check_fits(self, step: int, like: State) -> None:
        """Raises CheckpointError where the arrays of ``step`` are not like ``like``; reads names and shapes only."""
        self._check(step, "state", _model(like))

    def _check(self, step: int, item: str, like: Any) -> None:
        """Refuses a checkpoint of another model in words, before Orbax reads any of it."""
        self._check_whole(step, item)
        try:
            with ocp.StandardCheckpointer() as reader:
                found = _shapes(reader.metadata(self.directory / str(step) / item).item_metadata.tree)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise self._damaged(step, error) from error
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
                + ". Was config.model, config.head or config.optimizer changed since? "
                "The run's own keys are in its config.json."
            )

    def _check_whole(self, step: int, *parts: str) -> None:
        if problems := self.faults(step, *parts):
            raise DamagedError(
                f"{self.directory / str(step)} cannot be used: {in_words(problems)}. Steps here: "
                f"{[s for s in self.steps() if s != step] or 'none'}, beside it."
            )

    def _restore(self, step: int, **items: Any) -> Any:
        self._check_whole(step, *items)
        try:
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
                return _local(reader.restore(self.directory / str(step), args=ocp.args.Composite(**items)))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise self._damaged(step, error) from error

    def _damaged(self, step: int, error: Exception) -> CheckpointError:
        """What is said of an error in reading a step; without a manifest the step counts as damaged from now on."""
        where = self.directory / str(step)
        if self.has_manifest(step):
            # Not the files' fault: passing over whole checkpoints would lose them.
            return CheckpointError(f"{where} is whole, but cannot be restored: {str(error)[:600]}")
        self._unreadable[step] = f"it cannot be read ({str(error)[:300]})"
        return DamagedError(f"{where} is damaged: {str(error)[:600]}")

    def close(self) -> None:
        """Waits for what is being written, and lets go of the directory.

        Raises:
          StorageError: it could not be written.
        """
        if self._opened:
            with self._writing():
                self._manager.wait_until_finished()
            self._manager.close()


def in_words(faults: Sequence[str]) -> str:
    """The first few of ``faults``, and how many more there are."""
    more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
    return "; ".join(faults[:3]) + more


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _shapes(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    return {name: (tuple(leaf.shape), str(np.dtype(leaf.dtype))) for name, leaf in named.items()}


def _said(shape_and_dtype: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = shape_and_dtype
    return f"{dtype} {list(shape)}"


def _global(tree: Any) -> Any:
    """What Orbax is given: arrays of the first device, so that whoever has one can read them with Orbax alone.

    With several hosts it wants arrays that all of them share; pmap gives each host its own.
    """
    if jax.process_count() == 1:
        return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree)
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    return multihost_utils.host_local_array_to_global_array(tree, mesh, jax.sharding.PartitionSpec())


def _local(restored: Any) -> Any:
    """The way back: on this host's devices alone."""
    if jax.process_count() == 1:
        return restored
    arrays = {name: restored[name] for name in ("state", "optimizer") if name in restored}
    local = replicated(jax.tree.map(lambda x: x.addressable_data(0), arrays))
    return {**{name: restored[name] for name in restored.keys()}, **local}  # noqa: SIM118


def _model(state: State) -> State:
    return {name: value for name, value in state.items() if name != "optimizer"}
