"""An I3D under the rebuildable weights of the golden numbers."""

import jax
import numpy as np
from flax import nnx, traverse_util

from aqa_jax.models.i3d import I3D
from tests.golden import rule


def golden_i3d(style: str, **kwargs) -> tuple[nnx.GraphDef, dict[str, np.ndarray]]:
    """The network's graph and its flat weights ('/'-joined paths)."""
    model = nnx.eval_shape(lambda: I3D(rngs=nnx.Rngs(0), **kwargs))
    graph, state = nnx.split(model)
    flat = traverse_util.flatten_dict(nnx.to_pure_dict(state), sep="/")
    return graph, {path: rule.rebuilt(path, leaf.shape, style) for path, leaf in flat.items()}


def merged(graph: nnx.GraphDef, flat: dict[str, jax.Array]) -> I3D:
    """The module again, inside or outside a trace."""
    return nnx.merge(graph, nnx.State(traverse_util.unflatten_dict(flat, sep="/")))
