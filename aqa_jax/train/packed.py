"""Small leaves side by side in one vector, for work that treats all entries alike.

A network has hundreds of small arrays (scales, shifts, biases). Taken one by one in an optimizer's update, each becomes
several little programs of its own, which take a third of the step's compilation and nothing of its arithmetic. Packed
they are one, and one message between devices. An optimizer's moments stay packed from step to step, as nothing else
reads them; parameters are packed inside the compiled step alone, and checkpoints hold trees.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

LARGEST = 2**17
"""Entries of the largest leaf that is packed: copying a larger one would cost more than it saves."""


class Packing:
    """How trees of one structure are packed: by top-level key, so that a rule for the head still finds the head.

    Trees of jax's arrays inside a trace, or of numpy's on the host, where nothing is compiled for it.
    """

    def __init__(self, like: dict[str, Any]):
        """For trees with the structure, shapes and dtypes of ``like``."""
        self._structure: Any = jax.tree.structure(like)
        self._parts = {part: _Part(tree) for part, tree in like.items()}

    def pack(self, tree: dict[str, Any]) -> dict[str, Any]:
        """A tree like the given one -> {part: {"packed": ..., "whole": ...}}."""
        return {part: packing.pack(tree[part]) for part, packing in self._parts.items()}

    def unpack(self, packed: dict[str, Any]) -> dict[str, Any]:
        """The tree that :meth:`pack` was given."""
        return {part: packing.unpack(packed[part]) for part, packing in self._parts.items()}

    def pack_within(self, tree: Any) -> Any:
        """``tree`` with every subtree of the structure packed: an optimizer's state, its moments packed."""
        return jax.tree.map(lambda x: self.pack(x) if self._is_like(x) else x, tree, is_leaf=self._is_like)

    def unpack_within(self, packed: Any) -> Any:
        """The tree that :meth:`pack_within` was given."""

        def is_packed(x: Any) -> bool:
            same = isinstance(x, dict) and x.keys() == self._parts.keys()
            return same and all(isinstance(part, dict) and part.keys() == {"packed", "whole"} for part in x.values())

        return jax.tree.map(lambda x: self.unpack(x) if is_packed(x) else x, packed, is_leaf=is_packed)

    def _is_like(self, tree: Any) -> bool:
        return isinstance(tree, dict) and jax.tree.structure(tree) == self._structure


class _Part:
    def __init__(self, like: Any):
        leaves, self._structure = jax.tree.flatten(like)
        self._shapes = [leaf.shape for leaf in leaves]
        self._sizes = [leaf.size for leaf in leaves]
        # One vector a dtype; what is alone in its dtype stays as it is.
        self._vectors: dict[str, list[int]] = {}
        for i, leaf in enumerate(leaves):
            if leaf.size <= LARGEST:
                self._vectors.setdefault(str(leaf.dtype), []).append(i)
        self._vectors = {dtype: members for dtype, members in self._vectors.items() if len(members) > 1}
        packed = {i for members in self._vectors.values() for i in members}
        self._whole = [i for i in range(len(leaves)) if i not in packed]

    def pack(self, tree: Any) -> dict[str, Any]:
        leaves = jax.tree.leaves(tree)
        numpy = np if all(isinstance(leaf, np.ndarray) for leaf in leaves) else jnp
        vectors = {
            dtype: numpy.concatenate([leaves[i].reshape(-1) for i in members])
            for dtype, members in self._vectors.items()
        }
        return {"packed": _apart(vectors), "whole": [leaves[i] for i in self._whole]}

    def unpack(self, packed: dict[str, Any]) -> Any:
        leaves: list[Any] = [None] * len(self._shapes)
        for i, leaf in zip(self._whole, packed["whole"], strict=True):
            leaves[i] = leaf
        vectors = _apart(packed["packed"])
        for dtype, members in self._vectors.items():
            start = 0
            for i in members:
                stop = start + self._sizes[i]
                leaves[i] = vectors[dtype][start:stop].reshape(self._shapes[i])
                start = stop
        return jax.tree.unflatten(self._structure, leaves)


def _apart(vectors: dict[str, Any]) -> dict[str, Any]:
    """``vectors``; XLA might fuse what comes next into the joining: a choice among all leaves for every entry."""
    on_host = all(isinstance(vector, np.ndarray) for vector in vectors.values())
    return vectors if on_host else jax.lax.optimization_barrier(vectors)


def updated(
    optimizer: optax.GradientTransformation, gradient: Any, optimizer_state: Any, parameters: Any, packing: Packing
) -> tuple[Any, Any, dict[str, jax.Array]]:
    """New parameters, new optimizer state, and the norms of gradient, update and (old) parameters.

    ``gradient`` is packed already, and so is what ``optimizer_state`` holds of every parameter, in and out;
    ``parameters`` are trees.
    """
    packed = packing.pack(parameters)
    updates, new_state = optimizer.update(gradient, optimizer_state, packed)
    norms = {
        "gradient_norm": optax.tree.norm(gradient),
        "update_norm": optax.tree.norm(updates),
        "parameter_norm": optax.tree.norm(packed),
    }
    return packing.unpack(optax.apply_updates(packed, updates)), new_state, norms
