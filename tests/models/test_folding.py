"""Folded batch normalisation: the same function, exactly, for every dialect and with what is added to the backbone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aqa_jax.models.adapters import AdapterSettings
from aqa_jax.models.folding import Shift, fold
from aqa_jax.models.i3d import I3D, BatchNorm


def random_i3d(dialect, kind):
    """A float64 network in numpy, whose statistics, scales and shifts are anything but 0 and 1."""
    rng = np.random.default_rng(0)
    model = I3D(rngs=nnx.Rngs(0), dialect=dialect, width=0.05, adapters=AdapterSettings(kind))
    graph, state = nnx.split(model)

    def drawn(path, leaf):
        values = rng.standard_normal(leaf.shape) * 0.3
        return np.exp(values) if path[-2].key in ("var", "scale") else values

    flat = [(path, drawn(path, leaf)) for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]]
    return nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), [values for _, values in flat]))


@pytest.mark.parametrize(("dialect", "kind"), [("piergiaj", "3d"), ("pecop", "lora"), ("hassony2", "none")])
def test_folding_changes_nothing(dialect, kind):
    with jax.enable_x64(True):
        model = random_i3d(dialect, kind)
        video = jnp.asarray(np.random.default_rng(1).standard_normal((1, 9, 33, 32, 3)))
        run = jax.jit(lambda graph, state, video: nnx.merge(graph, state)(video), static_argnums=0)
        endpoints = run(*nnx.split(model), video)
        fold(model)
        kinds = {type(module) for _, module in nnx.iter_modules(model)}
        assert Shift in kinds and BatchNorm not in kinds
        folded = run(*nnx.split(model), video)
    # The pool at the end is float32: so is what is compared.
    assert float(jnp.abs(endpoints).max()) > 1e-3
    np.testing.assert_allclose(folded, endpoints, rtol=1e-6)


def test_every_unit_is_folded_to_ten_digits():
    with jax.enable_x64(True):
        model = random_i3d("deepmind", "lora")
        rng = np.random.default_rng(1)
        for name in ("Conv3d_1a_7x7", "Mixed_4b"):
            unit = getattr(model, name)
            channels = 3 if name == "Conv3d_1a_7x7" else unit.b0.conv.kernel.shape[3]
            x = jnp.asarray(rng.standard_normal((1, 4, 9, 9, channels)))
            run = jax.jit(lambda graph, state, x: nnx.merge(graph, state)(x, "frozen"), static_argnums=0)
            before = run(*nnx.split(unit), x)
            fold(unit)
            after = run(*nnx.split(unit), x)
            assert before.dtype == after.dtype == jnp.float64
            np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-10 * float(jnp.abs(before).max()))


def test_a_folded_network_does_not_train_its_statistics():
    model = I3D(rngs=nnx.Rngs(0), width=0.05)
    fold(model)
    with pytest.raises(AssertionError, match="no statistics"):
        model(jnp.zeros((1, 8, 32, 32, 3)), "batch")
