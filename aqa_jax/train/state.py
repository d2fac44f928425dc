"""The state of a training, as plain nested dicts of arrays, split into what is trained and what is not."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util

from aqa_jax.errors import WeightsError
from aqa_jax.models.heads.base import Constant
from aqa_jax.train.packed import Packing
from aqa_jax.weights.convert import ADAPTERS, group_of

State = dict[str, Any]
"""Keys ``step`` (int32 scalar), ``trainable``, ``frozen``, ``stats``, ``constants`` (nested dicts), ``optimizer``."""

AXIS = "data"
"""The mapped axis of the compiled steps: the devices of all hosts."""

GROUPS = ("trainable", "frozen", "stats", "constants")


class Assembler:
    """Splits a model into a :data:`State`'s groups once, and makes the module again inside a trace."""

    def __init__(self, make_model: Callable[[], nnx.Module], trainable: Callable[[tuple[str, ...], Any], bool]):
        """``make_model`` builds the module; ``trainable`` says of a parameter (path, variable) if it is trained."""

        def wanted(path, variable):
            return isinstance(variable, nnx.Param) and trainable(tuple(map(str, path)), variable)

        self._filters = (wanted, nnx.Param, nnx.BatchStat, Constant)
        self._make_model = make_model
        self.trainable = trainable
        model = nnx.eval_shape(make_model)
        self.graph, *groups = nnx.split(model, *self._filters)
        # Shapes and dtypes of what init makes.
        self.abstract: State = _named(groups)
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))

    def init(self) -> State:
        """Fresh arrays for every group."""
        _, *groups = nnx.split(self._make_model(), *self._filters)
        return _named(groups)

    def merge(self, state: State) -> nnx.Module:
        """The module with the arrays of ``state``."""
        return nnx.merge(self.graph, *(nnx.State(state[name]) for name in GROUPS))

    def stats(self, model: nnx.Module) -> dict[str, Any]:
        """The running statistics of ``model``, as in the state."""
        return nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))


def _named(groups: list[Any]) -> State:
    return {name: nnx.to_pure_dict(group) for name, group in zip(GROUPS, groups, strict=True)}


def flat(state: State, groups: tuple[str, ...] = GROUPS) -> dict[str, Any]:
    """All leaves of ``groups`` by their '/'-joined path in the model (``i3d/Mixed_3b/b0/conv/kernel``)."""
    merged: dict[str, Any] = {}
    for group in groups:
        merged |= traverse_util.flatten_dict(state[group], sep="/")
    return merged


def with_values(state: State, values: dict[str, np.ndarray]) -> State:
    """``state`` with the leaves named in ``values`` replaced.

    Raises:
      WeightsError: a name or a shape is not the model's.
    """
    result, unused = dict(state), set(values)
    for group in GROUPS:
        leaves = traverse_util.flatten_dict(state[group], sep="/")
        for path in unused & leaves.keys():
            if leaves[path].shape != values[path].shape:
                raise WeightsError(
                    f"{path}: the file has shape {values[path].shape}, the model {leaves[path].shape}. "
                    "Is config.model.width the file's?"
                )
            leaves[path] = jnp.asarray(values[path], leaves[path].dtype)
        unused -= leaves.keys()
        result[group] = traverse_util.unflatten_dict(leaves, sep="/")
    if unused:
        raise WeightsError(f"The model has no {', '.join(sorted(unused)[:5])} ({len(unused)} such names in the file).")
    return result


def start(groups: State, optimizer: optax.GradientTransformation) -> State:
    """The state before the first step; the optimizer's moments are packed (:mod:`aqa_jax.train.packed`)."""

    # One program instead of one for every shape; so is the copy below.
    @jax.jit
    def init(trainable: Any) -> Any:
        return optimizer.init(Packing(trainable).pack(trainable))

    return {"step": jnp.zeros((), jnp.int32), **groups, "optimizer": init(groups["trainable"])}


def with_trees(state: State) -> State:
    """``state`` with the optimizer's moments in trees like the parameters, as checkpoints hold them; numpy's arrays."""
    return {**state, "optimizer": Packing(state["trainable"]).unpack_within(jax.tree.map(_on_host, state["optimizer"]))}


def with_vectors(state: State) -> State:
    """The way back from :func:`with_trees`."""
    return {**state, "optimizer": Packing(state["trainable"]).pack_within(jax.tree.map(_on_host, state["optimizer"]))}


def abstract_trees(state: State) -> State:
    """Shapes and dtypes of :func:`with_trees`, for a ``state`` that may be shapes itself."""
    return jax.eval_shape(
        lambda state: {**state, "optimizer": Packing(state["trainable"]).unpack_within(state["optimizer"])}, state
    )


def _on_host(array: Any) -> np.ndarray:
    return np.asarray(array.addressable_data(0) if isinstance(array, jax.Array) else array)


def abstract_start(groups: State, optimizer: optax.GradientTransformation) -> State:
    """Shapes and dtypes of what :func:`start` makes of ``groups``, which may be shapes themselves."""
    return jax.eval_shape(lambda given: start(given, optimizer), groups)


@jax.jit
def copied(state: State) -> State:
    """``state`` in memory of its own, for whoever reads it while a step takes over the original's."""
    return jax.tree.map(jnp.copy, state)


def not_finite(state: State) -> list[str]:
    """Paths of the arrays in ``state`` that hold NaN or an infinity."""
    bad = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        values = np.asarray(leaf.addressable_data(0))
        if not jnp.issubdtype(values.dtype, jnp.floating):
            continue
        # A sum in float64 cannot overflow, and keeps what is not finite; nothing is compiled for it.
        with np.errstate(invalid="ignore"):  # infinities of both signs
            finite = np.isfinite(np.sum(values, dtype=np.float64))
        if not finite:
            bad.append(jax.tree_util.keystr(path, simple=True, separator="/"))
    return bad


def _replicated_sharding() -> jax.sharding.NamedSharding:
    """As the compiled step returns its state: on every device, over a mesh whose axis has the step's name."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def replicated(state: State) -> State:
    """``state`` on every device of this host; placed otherwise, the step would be compiled twice, or find it deleted.

    Each host's step takes arrays of that host's devices alone.
    """
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(state, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def abstract(state: State) -> State:
    """Shapes and dtypes of ``state`` with the replicated sharding: the target of a restore."""
    sharding = _replicated_sharding()
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


def parameter_counts(state: State, parameters: int) -> dict[str, tuple[int, int]]:
    """How many parameters of backbone, adapters and head, and in ``total``, are trainable and frozen.

    Each of the model's ``parameters`` is counted exactly once.
    """
    counts: dict[str, list[int]] = {}
    for column, group in enumerate(("trainable", "frozen")):
        for path, leaf in flat(state, (group,)).items():
            part = group_of(path)
            counts.setdefault("adapters" if part == ADAPTERS else part.partition("/")[0], [0, 0])[column] += leaf.size
    order = ("i3d", "adapters", "head")
    counts = {part: counts[part] for part in sorted(counts, key=lambda part: (*order, part).index(part))}
    counts["total"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    assert sum(counts["total"]) == parameters, "a parameter is in no group, or in two"
    return {part: (trainable, frozen) for part, (trainable, frozen) in counts.items()}


def parameter_table(state: State, parameters: int) -> str:
    """:func:`parameter_counts` as text."""
    lines = [f"{'part':<10}{'trainable':>14}{'frozen':>14}{'total':>14}"]
    counts = parameter_counts(state, parameters)
    lines += [f"{name:<10}{a:>14,}{b:>14,}{a + b:>14,}" for name, (a, b) in counts.items()]
    return "\n".join(lines)
