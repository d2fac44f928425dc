"""Properties of what is added to the backbone; parity with PECoP is in test_pecop_golden.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aqa_jax import config_keys
from aqa_jax.models import adapters, i3d
from aqa_jax.models.adapters import TUNING, Adapter3D, AdapterParam, AdapterSettings, LowRank
from aqa_jax.models.i3d import I3D


def sizes(model, kind):
    return {"/".join(map(str, path)): leaf.size for path, leaf in nnx.to_flat_state(nnx.state(model, kind))}


def test_the_config_names_the_blocks_and_words_of_the_model():
    assert tuple(i3d.MIXED) == adapters.BLOCKS == config_keys.BLOCKS
    field = next(f for f in dataclasses.fields(config_keys.TrainConfig) if f.name == "trainable")
    assert field.metadata["choices"] == tuple(TUNING)


@pytest.mark.parametrize("depthwise", [False, True])
def test_an_adapter_with_zero_scale_changes_nothing(depthwise):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 2, 2, 8)), jnp.float32)
    settings = AdapterSettings("3d", zero_scale=True, depthwise=depthwise)
    np.testing.assert_array_equal(Adapter3D(8, settings, "auto", nnx.Rngs(0))(x), x)
    settings = AdapterSettings("3d", depthwise=depthwise)
    assert not np.allclose(Adapter3D(8, settings, "auto", nnx.Rngs(0))(x), x, atol=1e-3)


def test_an_adapter_is_its_formula():
    rng = np.random.default_rng(0)
    adapter = Adapter3D(6, AdapterSettings("3d", ratio=4), "plain", nnx.Rngs(0))  # two groups; the last sees zeros
    adapter.scale[...] = jnp.asarray(rng.standard_normal(6), jnp.float32)
    x = rng.standard_normal((1, 2, 2, 2, 6)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 2)))
    kernel = np.asarray(adapter.down.kernel)
    narrow = np.zeros((1, 2, 2, 2, 2))
    for t, h, w in np.ndindex(2, 2, 2):
        window = padded[0, t : t + 3, h : h + 3, w : w + 3]
        for group in range(2):
            narrow[0, t, h, w, group] = (window[..., 4 * group : 4 * group + 4] * kernel[..., group]).sum()
    narrow = np.maximum(narrow + np.asarray(adapter.down.bias), 0)
    up = narrow @ np.asarray(adapter.up.kernel)[0, 0, 0] + np.asarray(adapter.up.bias)
    np.testing.assert_allclose(adapter(jnp.asarray(x)), x + np.asarray(adapter.scale) * up, rtol=1e-5, atol=1e-5)


def test_a_low_rank_update_starts_as_nothing_and_has_its_rank():
    update = LowRank((3, 3, 3, 5, 7), 2, nnx.Rngs(0))
    kernel = jnp.ones((3, 3, 3, 5, 7))
    np.testing.assert_array_equal(update(kernel), kernel)
    update.up[...] = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7)), jnp.float32)
    change = np.asarray(update(kernel) - kernel).reshape(-1, 7)
    assert np.linalg.matrix_rank(change, tol=1e-4) == 2


def test_only_the_named_blocks_get_one():
    def made(kind):
        settings = AdapterSettings(kind, blocks=("Mixed_4c", "Mixed_5c"))
        return nnx.eval_shape(lambda: I3D(rngs=nnx.Rngs(0), width=0.05, adapters=settings))

    for kind, part in (("3d", "adapter"), ("lora", "conv/low_rank")):
        paths = sizes(made(kind), AdapterParam)
        assert {path.split("/")[0] for path in paths} == {"Mixed_4c", "Mixed_5c"}
        assert all(part in path for path in paths)


def test_every_parameter_is_trained_or_frozen_under_every_word():
    settings = AdapterSettings("3d")
    model = nnx.eval_shape(lambda: {"i3d": I3D(rngs=nnx.Rngs(0), adapters=settings)})
    trained = {}
    for word, wanted in TUNING.items():
        _, chosen, _ = nnx.split(
            model, lambda path, v, f=wanted: isinstance(v, nnx.Param) and f(tuple(map(str, path)), v), ...
        )
        trained[word] = sum(leaf.size for leaf in jax.tree.leaves(chosen))
    assert trained["head"] == 0
    assert trained["adapters"] == 1_109_068  # the published 9.03 % of the trunk
    assert trained["all"] == 12_287_264 + 1_109_068
    normalisations = [size for path, size in sizes(model, nnx.Param).items() if "/bn/" in path]
    assert trained["norm"] == sum(normalisations)
    # The trunk's convolutions have no bias: those of the normalisation and of the adapters are all there are.
    assert trained["bias"] == sum(normalisations) // 2 + sum(
        size for path, size in sizes(model, AdapterParam).items() if path.endswith("/bias")
    )
