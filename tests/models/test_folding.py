"""Folded batch normalisation: the same function, exactly, for every dialect and with what is added to the backbone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aqa_jax.models.adapters import AdapterSettings, LowRank
from aqa_jax.models.folding import Shift, fold
from aqa_jax.models.i3d import I3D, BatchNorm


def random_i3d(dialect, kind):
    """A float64 network in numpy, whose statistics, scales and shifts are anything but 0 and 1."""
    rng = np.random.default_rng(0)
    model = I3D(rngs=nnx.Rngs(0), dialect=dialect, width=0.05, adapters=AdapterSettings(kind), form="plain")
    graph, state = nnx.split(model)

    def drawn(path, leaf):
        values = rng.standard_normal(leaf.shape) * 0.3
        return np.exp(values) if path[-2].key in ("var", "scale") else values

    flat = [(path, drawn(path, leaf)) for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]]
    return nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), [values for _, values in flat]))


@pytest.mark.parametrize(("dialect", "kind"), [("piergiaj", "3d"), ("pecop", "lora"), ("deepmind", "none")])
def test_folding_changes_nothing(dialect, kind):
    """To ten digits; the whole network's scores are compared in tests/predict/test_scorer.py."""
    with jax.enable_x64(True):
        model = random_i3d(dialect, kind)
        rng = np.random.default_rng(1)
        for module, channels in ((model.Conv3d_1a_7x7, 3), (model.Mixed_4b, model.Mixed_4b.b0.conv.kernel.shape[3])):
            x = jnp.asarray(rng.standard_normal((1, 3, 8, 7, channels)))
            run = jax.jit(lambda graph, state, x: nnx.merge(graph, state)(x, "frozen"), static_argnums=0)
            before = run(*nnx.split(module), x)
            fold(module)
            after = run(*nnx.split(module), x)
            assert before.dtype == after.dtype == jnp.float64 and float(jnp.abs(before).max()) > 1e-3
            np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-10 * float(jnp.abs(before).max()))


def test_every_normalisation_is_folded():
    model = random_i3d("hassony2", "lora")
    fold(model)
    kinds = {type(module) for _, module in nnx.iter_modules(model)}
    assert Shift in kinds and not kinds & {BatchNorm, LowRank}


def test_a_folded_network_does_not_train_its_statistics():
    model = I3D(rngs=nnx.Rngs(0), width=0.05)
    fold(model)
    with pytest.raises(AssertionError, match="no statistics"):
        model(jnp.zeros((1, 8, 32, 32, 3)), "batch")
