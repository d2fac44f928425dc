"""Properties of the backbone on tiny inputs; parity with the originals is in test_i3d_golden.py."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aqa_jax.models.i3d import DIALECTS, ENDPOINTS, I3D, BatchNorm, Dialect, same_padding


@pytest.fixture(scope="module")
def small():
    return I3D(rngs=nnx.Rngs(0), width=0.05)


def test_feature_shapes(small):
    for frames, positions in ((8, 1), (16, 1), (32, 3)):
        video = jnp.zeros((1, frames, 32, 32, 3))
        assert jax.eval_shape(small, video).shape == (1, positions, small.feature_size)


def test_a_shorter_network_is_the_start_of_the_whole(small):
    short = I3D(rngs=nnx.Rngs(0), width=0.05, final_endpoint="Mixed_3c")
    assert short.layers == ENDPOINTS[:7] and not hasattr(short, "Mixed_4b")
    assert short.feature_size == sum(round(channels * 0.05) for channels in (128, 192, 96, 64))
    video = jnp.zeros((1, 8, 32, 32, 3))
    assert jax.eval_shape(short, video).shape == (1, 3, short.feature_size)
    ours, whole = (dict(jax.eval_shape(lambda v, m=m: dict(m.endpoints(v)), video)) for m in (short, small))
    assert ours == {name: whole[name] for name in short.layers}


def test_clips_do_not_see_each_other_with_frozen_statistics(small):
    video = np.random.default_rng(0).standard_normal((3, 8, 32, 32, 3)).astype(np.float32)
    run = jax.jit(lambda v: small(v, "frozen"))
    order = np.array([2, 0, 1])
    np.testing.assert_allclose(run(video)[order], run(video[order]), rtol=1e-5, atol=1e-6)


def test_the_dialects_disagree(small):
    video = jnp.asarray(np.random.default_rng(0).standard_normal((1, 9, 33, 33, 3)), jnp.float32)
    _, state = nnx.split(small)
    outputs = {}
    for name in DIALECTS:
        graph = nnx.graphdef(I3D(rngs=nnx.Rngs(0), width=0.05, dialect=name))

        # The first layers tell already, and compile in a fraction of the whole network's time.
        @jax.jit
        def first_layers(video, graph=graph):
            *_, (_, x) = itertools.islice(nnx.merge(graph, state).endpoints(video), 4)
            return x.mean((1, 2, 3))

        outputs[name] = np.asarray(first_layers(video))
    assert not np.allclose(outputs["hassony2"], outputs["pecop"], rtol=1e-4)  # epsilon
    assert not np.allclose(outputs["hassony2"], outputs["piergiaj"], rtol=1e-4)  # padding of odd sizes


@pytest.mark.parametrize("size", [1, 2, 7, 8, 15, 16])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 1), (3, 2), (2, 2)])
def test_same_padding_is_tensorflows(size, kernel, stride):
    low, high = same_padding(size, kernel, stride, static=False)
    out = (size + low + high - kernel) // stride + 1
    assert out == -(-size // stride)
    assert high - low in (0, 1)


def test_batch_statistics_follow_torchs_convention():
    norm = BatchNorm(4, Dialect(bn_momentum=0.1))
    x = np.random.default_rng(0).standard_normal((3, 2, 5, 5, 4)).astype(np.float32) * 3 + 7
    y = norm(jnp.asarray(x), "batch")
    flat = x.reshape(-1, 4)
    np.testing.assert_allclose(y.reshape(-1, 4).mean(0), np.zeros(4), atol=1e-5)
    expected = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-3)
    np.testing.assert_allclose(np.asarray(y).reshape(-1, 4), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.mean[...], 0.1 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-4)


def test_frozen_mode_uses_the_running_statistics_and_keeps_them():
    norm = BatchNorm(2, Dialect())
    norm.mean[...], norm.var[...] = jnp.array([1.0, 2.0]), jnp.array([4.0, 9.0])
    x = jnp.ones((1, 2, 2, 2, 2))
    expected = np.array([0.0, -1.0]) / np.sqrt(np.array([4.0, 9.0]) + 1e-3)
    np.testing.assert_allclose(norm(x, "frozen")[0, 0, 0, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(norm.mean[...], [1.0, 2.0])
    np.testing.assert_array_equal(norm.var[...], [4.0, 9.0])


def test_batch_statistics_span_all_devices():
    """Four shards under one mapped axis give the statistics of the whole batch."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 2, 3, 3, 3, 5)), jnp.float32) * 2 + 1
    graph, params, stats = nnx.split(BatchNorm(5, Dialect()), nnx.Param, nnx.BatchStat)
    params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def run(x, axis_name):
        module = nnx.merge(graph, nnx.State(params), nnx.State(stats))
        y = module(x, "batch", axis_name)
        return y, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    sharded, sharded_stats = jax.vmap(lambda x: run(x, "data"), axis_name="data")(x)
    whole, whole_stats = jax.jit(lambda x: run(x, None))(x.reshape(8, *x.shape[2:]))
    np.testing.assert_allclose(sharded.reshape(whole.shape), whole, rtol=1e-4, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(sharded_stats[name][0], whole_stats[name], rtol=1e-5)
