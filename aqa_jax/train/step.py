"""The compiled steps: one update, one evaluation, each pmapped over the devices of all hosts.

Nothing goes between host and devices inside a call of a step, unless :func:`shard` or the caller put it there: an array
that was forgotten on the host is an error, not a slow step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aqa_jax.tasks.base import Batch, Task
from aqa_jax.train.packed import Packing, updated
from aqa_jax.train.state import AXIS, Assembler, State


def make_train_step(
    task: Task, assembler: Assembler, optimizer: optax.GradientTransformation, total_steps: int, seed: int
) -> Callable[[State, Batch], tuple[State, dict[str, jax.Array]]]:
    """``(state, batch) -> (state, figures)``; the batch's arrays are [devices, per device, ...], the state is donated.

    The gradient is that of the mean loss over the whole batch with respect to the trainable group alone. The state
    stays one replicated array per leaf, without a device axis, so a checkpoint is the same for any number of devices.
    """

    def step(state: State, batch: Batch, numbers: dict[str, jax.Array]) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(numbers["seed"]), state["step"])
        key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
        progress = state["step"].astype(jnp.float32) / numbers["total_steps"]

        def loss_of(trainable: Any) -> tuple[jax.Array, Any]:
            model = assembler.merge({**state, "trainable": trainable})
            losses, figures = task.loss(model, batch, key, progress)
            return losses.mean(), (figures, assembler.stats(model))

        # State and batch are unequal over the devices only in the batch: every reduction below is explicit.
        (loss, (figures, stats)), tree = jax.value_and_grad(loss_of, has_aux=True)(state["trainable"])
        packing = Packing(state["trainable"])
        figures = {"loss": loss, **{k: v.mean() for k, v in figures.items()}}
        # All that the devices tell one another, once: beside the batch's statistics, where these are used.
        gradient, means = jax.lax.pmean((packing.pack(tree), jnp.stack(list(figures.values()))), AXIS)
        trainable, optimizer_state, norms = updated(
            optimizer, gradient, state["optimizer"], state["trainable"], packing
        )
        figures = {**dict(zip(figures, means, strict=True)), **norms}
        new = {
            "step": state["step"] + 1,
            "trainable": trainable,
            "frozen": state["frozen"],
            "stats": stats,
            "constants": state["constants"],
            "optimizer": optimizer_state,
        }
        return new, figures

    mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=(0,))
    # Arguments and not constants: runs that differ in their seed alone find the same program in the cache on disk.
    numbers = {"seed": np.uint32(seed % 2**32), "total_steps": np.float32(total_steps)}
    return Guarded(mapped, _on_local_devices(numbers, PartitionSpec()))


def make_output_step(task: Task, assembler: Assembler) -> Callable[[State, Batch], dict[str, jax.Array]]:
    """``(state, batch) -> outputs``, both [devices, per device, ...]; the state is kept."""

    @partial(jax.pmap, axis_name=AXIS, in_axes=(None, 0), out_axes=0)
    def step(state: State, batch: Batch) -> dict[str, jax.Array]:
        return task.outputs(assembler.merge(state), batch)

    return Guarded(step)


class Guarded:
    """A compiled step, given ``more`` at the end, under which jax refuses every transfer that is not asked for.

    That holds from the second call on: the first one compiles, and constants of the program may come from anywhere.
    """

    def __init__(self, step: Any, *more: Any):
        """``step`` is a jitted or pmapped function."""
        self._step, self._more, self._guard = step, more, "allow"

    def __call__(self, *arguments: Any) -> Any:
        """The step's result."""
        guard, self._guard = self._guard, "disallow"
        with jax.transfer_guard(guard):
            return self._step(*arguments, *self._more)

    def lower(self, *arguments: Any) -> Any:
        """The step as jax lowers it, for whoever looks at the program."""
        return self._step.lower(*arguments, *self._more)


def shard(batch: dict[str, Any], devices: int) -> dict[str, Any]:
    """[B, ...] -> [devices, B / devices, ...] for each array, on this host's devices."""
    parts = {k: v.reshape(devices, v.shape[0] // devices, *v.shape[1:]) for k, v in batch.items()}
    return _on_local_devices(parts, PartitionSpec(AXIS), devices)


def _on_local_devices(tree: Any, spec: PartitionSpec, devices: int | None = None) -> Any:
    """Puts ``tree`` on the first ``devices`` of this host, by default all."""
    return jax.device_put(tree, NamedSharding(Mesh(np.array(jax.local_devices()[:devices]), (AXIS,)), spec))
