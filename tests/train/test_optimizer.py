"""The optimizer against torch's rules, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aqa_jax.config_keys import OptimizerConfig
from aqa_jax.train.optimizer import make_optimizer, make_schedule

RATE = 0.1


def run(settings: OptimizerConfig, gradients, start=1.0, total=10):
    params = {"head": {"w": jnp.full(3, start)}, "i3d": {"w": jnp.full(3, start)}}
    optimizer = make_optimizer(settings, total)
    state = optimizer.init(params)
    for g in gradients:
        updates, state = optimizer.update(jax.tree.map(lambda p, g=g: jnp.asarray(g, p.dtype), params), state, params)
        params = optax.apply_updates(params, updates)
    return {part: np.asarray(leaf["w"]) for part, leaf in params.items()}


GRADIENTS = np.random.default_rng(0).standard_normal((4, 3))


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adam_couples_weight_decay_as_torch_does(decay):
    p, m, v = np.ones(3), np.zeros(3), np.zeros(3)
    for t, gradient in enumerate(GRADIENTS, start=1):
        g = gradient + decay * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p = p - RATE * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    ours = run(OptimizerConfig(learning_rate=RATE, weight_decay=decay), GRADIENTS)
    np.testing.assert_allclose(ours["i3d"], p, rtol=1e-5)


def test_adamw_decouples_it():
    p, m, v = np.ones(3), np.zeros(3), np.zeros(3)
    for t, g in enumerate(GRADIENTS, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p = p - RATE * ((m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + 0.3 * p)
    ours = run(OptimizerConfig(name="adamw", learning_rate=RATE, weight_decay=0.3), GRADIENTS)
    np.testing.assert_allclose(ours["i3d"], p, rtol=1e-5)


def test_sgd_with_momentum_and_decay_is_torchs():
    p, buffer = np.ones(3), np.zeros(3)
    for gradient in GRADIENTS:
        buffer = 0.9 * buffer + gradient + 0.01 * p
        p = p - RATE * buffer
    ours = run(OptimizerConfig(name="sgd", learning_rate=RATE, weight_decay=0.01), GRADIENTS)
    np.testing.assert_allclose(ours["i3d"], p, rtol=1e-5)


def test_the_gradient_is_clipped_by_its_norm_over_all_parameters():
    settings = OptimizerConfig(name="sgd", momentum=0.0, learning_rate=1.0, weight_decay=0.0, clip_norm=1.0)
    ours = run(settings, [np.full(3, 10.0)])
    step = np.concatenate([1 - ours["i3d"], 1 - ours["head"]])
    np.testing.assert_allclose(np.linalg.norm(step), 1.0, rtol=1e-5)


def test_accumulated_batches_are_one_update_with_their_mean():
    settings = OptimizerConfig(learning_rate=RATE, weight_decay=0.0)
    ours = run(OptimizerConfig(learning_rate=RATE, weight_decay=0.0, accumulate=4), GRADIENTS)
    np.testing.assert_allclose(ours["i3d"], run(settings, [GRADIENTS.mean(0)])["i3d"], rtol=1e-5)


def test_the_head_can_learn_at_its_own_rate():
    settings = OptimizerConfig(name="sgd", momentum=0.0, learning_rate=RATE, weight_decay=0.0, head_multiplier=3.0)
    ours = run(settings, [np.ones(3)])
    np.testing.assert_allclose([1 - ours["head"][0], 1 - ours["i3d"][0]], [3 * RATE, RATE], rtol=1e-5)


def test_schedule():
    settings = OptimizerConfig(learning_rate=2.0, schedule="cosine", warmup_steps=10, final_fraction=0.1)
    schedule = make_schedule(settings, 110)
    shown = [float(schedule(step)) for step in (0, 5, 10, 60, 110)]
    np.testing.assert_allclose(shown, [0.0, 1.0, 2.0, 1.1, 0.2], rtol=1e-5)
    assert float(make_schedule(OptimizerConfig(learning_rate=2.0), 110)(100)) == 2.0
