"""The compiled steps: one update, one evaluation, each pmapped over the devices of all hosts."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aqa_jax.tasks.base import Batch, Task
from aqa_jax.train.state import AXIS, Assembler, State


def make_train_step(
    task: Task, assembler: Assembler, optimizer: optax.GradientTransformation, total_steps: int, seed: int
) -> Callable[[State, Batch], tuple[State, dict[str, jax.Array]]]:
    """``(state, batch) -> (state, figures)``; the batch's arrays are [devices, per device, ...], the state is donated.

    The gradient is that of the mean loss over the whole batch with respect to the trainable group alone. The state
    stays one replicated array per leaf, without a device axis, so a checkpoint is the same for any number of devices.
    """
    root = jax.random.key(seed)

    def step(state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.fold_in(root, state["step"]), jax.lax.axis_index(AXIS))
        progress = state["step"].astype(jnp.float32) / total_steps

        def loss_of(trainable: Any) -> tuple[jax.Array, Any]:
            model = assembler.merge({**state, "trainable": trainable})
            losses, figures = task.loss(model, batch, key, progress)
            return losses.mean(), (figures, assembler.stats(model))

        # State and batch are unequal over the devices only in the batch: every reduction below is explicit.
        (loss, (figures, stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state["trainable"])
        loss, gradient, figures = jax.lax.pmean((loss, gradient, {k: v.mean() for k, v in figures.items()}), AXIS)
        updates, optimizer_state = optimizer.update(gradient, state["optimizer"], state["trainable"])
        figures = {
            "loss": loss,
            "gradient_norm": optax.tree.norm(gradient),
            "update_norm": optax.tree.norm(updates),
            "parameter_norm": optax.tree.norm(state["trainable"]),
            **figures,
        }
        new = {
            "step": state["step"] + 1,
            "trainable": optax.apply_updates(state["trainable"], updates),
            "frozen": state["frozen"],
            "stats": stats,
            "constants": state["constants"],
            "optimizer": optimizer_state,
        }
        return new, figures

    return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=(0,))


def make_output_step(task: Task, assembler: Assembler) -> Callable[[State, Batch], dict[str, jax.Array]]:
    """``(state, batch) -> outputs``, both [devices, per device, ...]; the state is kept."""

    @partial(jax.pmap, axis_name=AXIS, in_axes=(None, 0), out_axes=0)
    def step(state: State, batch: Batch) -> dict[str, jax.Array]:
        return task.outputs(assembler.merge(state), batch)

    return step


def shard(batch: dict[str, Any], devices: int) -> dict[str, Any]:
    """[B, ...] -> [devices, B / devices, ...] for each array."""
    return {k: v.reshape(devices, v.shape[0] // devices, *v.shape[1:]) for k, v in batch.items()}
