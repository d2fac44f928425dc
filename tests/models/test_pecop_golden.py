"""Parity with PECoP's I3D and its 3D-Adapters, under weights that anyone can rebuild (tests/golden/rule.py)."""

from pathlib import Path

import jax
import numpy as np
import pytest

from aqa_jax.models.adapters import AdapterSettings
from tests.golden import rule
from tests.models.golden_i3d import golden_i3d, merged

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "i3d_reference.npz")
BOUND = 2e-5


@pytest.fixture(scope="module")
def pecop():
    return golden_i3d("hassony2", dialect="pecop", adapters=AdapterSettings(kind="3d"))


def relative(ours, theirs) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


def is_adapter(path: str) -> bool:
    return "/adapter/" in path


def test_trainable_parameters_are_the_published_number(pecop):
    _, flat = pecop
    count = sum(leaf.size for path, leaf in flat.items() if is_adapter(path))
    assert count == int(GOLDEN["pecop_t32/trainable"]) == 1_109_068


def test_features_and_every_layer(pecop):
    graph, flat = pecop

    @jax.jit
    def run(flat, video):
        model = merged(graph, flat)
        means = {}
        for name, x in model.endpoints(video):
            means[name.lower()] = x.mean((1, 2, 3))
        return means, model.pool(x)

    means, features = run(flat, rule.array("pecop/x32", (1, 32, 224, 224, 3)))
    assert relative(features.transpose(0, 2, 1), GOLDEN["pecop_t32/features"]) < BOUND
    layers = [key for key in GOLDEN.files if key.startswith("pecop_t32/mean/")]
    assert len(layers) == 12
    for key in layers:
        assert relative(means[key.rsplit("/", 1)[-1]], GOLDEN[key]) < BOUND, key


def test_gradients_of_every_adapter_parameter(pecop):
    # In float64: rounding flips a few ReLUs, and which ones depends on the compiler's version.
    graph, flat = pecop
    with jax.enable_x64(True):
        flat = {path: leaf.astype(np.float64) for path, leaf in flat.items()}
        trained = {path: leaf for path, leaf in flat.items() if is_adapter(path)}
        frozen = {path: leaf for path, leaf in flat.items() if not is_adapter(path)}
        weight = rule.array("pecop/w", (1, 1024, 3, 1, 1))[..., 0, 0].transpose(0, 2, 1)

        @jax.jit
        def gradient_of(trained, frozen, video):
            return jax.grad(lambda trained: (merged(graph, {**trained, **frozen})(video) * weight).sum())(trained)

        video = rule.array("pecop/x32", (1, 32, 224, 224, 3)).astype(np.float64)
        gradient = jax.device_get(gradient_of(trained, frozen, video))
    ours = {rule.original_key(path, "hassony2"): leaf for path, leaf in gradient.items()}
    keys = [key.rsplit("/", 1)[-1] for key in GOLDEN.files if key.startswith("pecop_t32/grad_norm/")]
    assert sorted(keys) == sorted(ours)
    for key in keys:
        expected = float(GOLDEN[f"pecop_t32/grad_norm/{key}"])
        assert abs(np.linalg.norm(ours[key]) - expected) < 5e-3 * expected, key
    for key in (key for key in GOLDEN.files if key.startswith("pecop_t32/grad/")):
        assert relative(ours[key.rsplit("/", 1)[-1]], GOLDEN[key].ravel()) < 5e-3, key


def test_batch_statistics_and_the_running_ones_after_one_step(pecop):
    graph, flat = pecop

    @jax.jit
    def run(flat, video):
        model = merged(graph, flat)
        features = model(video, "batch")
        first, last = model.Conv3d_1a_7x7.bn, model.Mixed_5c.b0.bn
        return features, {"conv3d_1a_7x7": first, "mixed_5c.branch_0": last}

    features, norms = run(flat, rule.array("pecop/bn", (2, 16, 224, 224, 3)))
    # Bounds as wide as batch statistics over a few hundred positions ask for; rounding differs by compiler.
    assert relative(features.transpose(0, 2, 1), GOLDEN["pecop_bn_train/features"]) < 2e-3
    for name, norm in norms.items():
        assert relative(norm.mean[...], GOLDEN[f"pecop_bn_train/running_mean/{name}"]) < 5e-4, name
        assert relative(norm.var[...], GOLDEN[f"pecop_bn_train/running_var/{name}"]) < 5e-4, name
