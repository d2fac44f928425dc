"""Parity with the PyTorch originals, under weights that anyone can rebuild (tests/golden/rule.py)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.models import primitives
from aqa_jax.models.heads.dae import DAE
from tests.golden import rule
from tests.models.golden_i3d import golden_i3d, merged

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "i3d_reference.npz")
BOUND = 2e-5


def relative(ours, theirs) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("frames", [16, 32])
def test_kinetics_logits_and_every_layer(frames):
    graph, flat = golden_i3d("hassony2", dialect="hassony2", num_classes=400)

    @jax.jit
    def run(flat, video):
        model = merged(graph, flat)
        means = {}
        for name, x in model.endpoints(video):
            means[name.lower()] = x.mean((1, 2, 3))
        return means, model.classify(model.pool(x))

    video = rule.array(f"kinetics/x{frames}", (1, frames, 224, 224, 3))
    means, logits = run(flat, video)
    assert relative(logits, GOLDEN[f"kinetics_t{frames}/logits"]) < BOUND
    layers = [key for key in GOLDEN.files if key.startswith(f"kinetics_t{frames}/mean/")]
    assert layers
    for key in layers:
        assert relative(means[key.rsplit("/", 1)[-1]], GOLDEN[key]) < BOUND, key


@pytest.mark.parametrize("form", ["plain", "cpu", "cpu without tiles"])
def test_dae_features_and_every_layer(form, monkeypatch):
    if form == "cpu without tiles":
        monkeypatch.setattr(primitives, "WORTH_TILES", (np.inf, np.inf))
    graph, flat = golden_i3d("piergiaj", dialect="piergiaj", form=form.partition(" ")[0])

    @jax.jit
    def run(flat, video):
        model = merged(graph, flat)
        means = {}
        for name, x in model.endpoints(video):
            means[name] = x.mean((1, 2, 3))
        return means, model.pool(x)

    means, features = run(flat, rule.array("dae/x16", (2, 16, 224, 224, 3)))
    assert relative(features.transpose(0, 2, 1), GOLDEN["dae_t16/features"]) < BOUND
    for key in GOLDEN.files:
        if key.startswith("dae_t16/mean/"):
            assert relative(means[key.rsplit("/", 1)[-1]], GOLDEN[key]) < BOUND, key


def test_dae_odd_sizes():
    graph, flat = golden_i3d("piergiaj", dialect="piergiaj")

    @jax.jit
    def run(flat, video):
        *_, (_, x) = merged(graph, flat).endpoints(video)
        return x

    x = run(flat, rule.array("dae/odd", (1, 21, 225, 231, 3)))
    batch, channels, time, height, width = GOLDEN["dae_odd/mixed_5c_shape"]
    assert x.shape == (batch, time, height, width, channels)
    assert relative(x.mean((1, 2, 3)), GOLDEN["dae_odd/mixed_5c"]) < BOUND


def test_dae_gradient_norms_of_all_parameters():
    # In float64: rounding flips a few ReLUs, and which ones depends on the compiler's version.
    with jax.enable_x64(True):
        graph, flat = golden_i3d("piergiaj", dialect="piergiaj")
        flat = {path: leaf.astype(np.float64) for path, leaf in flat.items()}
        trained = {k: v for k, v in flat.items() if not k.endswith(("/mean", "/var"))}
        statistics = {k: v for k, v in flat.items() if k not in trained}
        weight = rule.array("dae/gradw", (1, 1024, 1)).transpose(0, 2, 1)

        @jax.jit
        def norms_of(trained, video):
            def loss(trained):
                return (merged(graph, {**trained, **statistics})(video) * weight).sum()

            return jax.tree.map(lambda g: jnp.linalg.norm(g.ravel()), jax.grad(loss)(trained))

        video = rule.array("dae/grad16", (1, 16, 224, 224, 3)).astype(np.float64)
        norms = {rule.original_key(path, "piergiaj"): float(n) for path, n in norms_of(trained, video).items()}
    keys = [key.rsplit("/", 1)[-1] for key in GOLDEN.files if key.startswith("dae_grad16/grad_norm/")]
    assert sorted(keys) == sorted(norms)
    for key in keys:
        expected = float(GOLDEN[f"dae_grad16/grad_norm/{key}"])
        assert abs(norms[key] - expected) < 5e-3 * expected, key


def test_dae_head():
    head = DAE(1024, HeadConfig(standardise=False), times_difficulty=False, rngs=nnx.Rngs(0))
    for layer in ("fc1", "fch", "fc2_mean", "fc2_logvar"):
        module = getattr(head, layer)
        shape = module.kernel.shape
        module.kernel[...] = jnp.asarray(rule.from_torch(rule.parameter(f"{layer}.weight", shape[::-1])))
        module.bias[...] = jnp.asarray(rule.parameter(f"{layer}.bias", (shape[1],)))
    outputs = head(rule.array("dae_head/f", (4, 1024)))
    assert relative(outputs["mean"], GOLDEN["dae_head/mean"][:, 0]) < BOUND
    assert relative(outputs["logvar"], GOLDEN["dae_head/logvar"][:, 0]) < BOUND


def test_parameter_counts_are_the_published_ones():
    model = nnx.eval_shape(lambda: golden_free_model())
    params = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model["i3d"], nnx.Param)))
    assert sum(leaf.size for leaf in params) == 12_287_264
    head = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model["head"], nnx.Param)))
    assert sum(leaf.size for leaf in head) == 295_554


def golden_free_model():
    from aqa_jax.models.i3d import I3D

    rngs = nnx.Rngs(0)
    return {"i3d": I3D(rngs=rngs), "head": DAE(1024, HeadConfig(), times_difficulty=False, rngs=rngs)}
