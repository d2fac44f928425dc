"""CoRe and DAE-CoRe: the original's numbers, losses and votes against loops in numpy."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.models.heads.core import CoRe, leaf_intervals, leaf_of
from aqa_jax.models.layers import Linear, StackedLinear
from tests.golden import rule

GOLDEN = {
    name.partition("/")[2]: values
    for name, values in np.load(Path(__file__).parents[1] / "golden" / "heads_reference.npz").items()
    if name.startswith("core/")
}


def golden_tree():
    """CoRe on 1024 features with the golden rule's weights."""
    head = CoRe(1024, HeadConfig(pool=1), nnx.Rngs(0))
    for name, layer in vars(head).items():
        if not isinstance(layer, Linear | StackedLinear):
            continue
        original = name.replace("s_", "s.") + (".0" if name.startswith(("first", "feature")) else "")
        kernel, bias = layer.kernel, layer.bias
        if kernel.ndim == 2:
            value = rule.parameter(f"{original}.weight", kernel.shape[::-1]).T
        else:
            nodes, inside, outside = kernel.shape
            value = rule.parameter(f"{original}.weight", (nodes * outside, inside, 1))
            value = value.reshape(nodes, outside, inside).transpose(0, 2, 1)
        kernel[...] = jnp.asarray(value)
        bias[...] = jnp.asarray(rule.parameter(f"{original}.bias", (bias.size,)).reshape(bias.shape))
    return head


def test_the_tree_is_the_originals():
    outputs = golden_tree().pair_outputs(jnp.asarray(rule.array("core/x", (6, 2049))))
    np.testing.assert_allclose(outputs["logprob"], GOLDEN["leaf_logprob"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs["position"], GOLDEN["delta"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jnp.exp(outputs["logprob"]).sum(1), 1.0, rtol=1e-5)


def test_intervals_labels_and_inference_are_the_originals():
    intervals = leaf_intervals(GOLDEN["train_abs_delta"], 16, 30.0)
    np.testing.assert_array_equal(intervals, GOLDEN["intervals"])
    leaf, position = leaf_of(jnp.asarray(GOLDEN["query_delta"], jnp.float32), jnp.asarray(intervals, jnp.float32))
    np.testing.assert_array_equal(np.arange(16)[:, None] == np.asarray(leaf), GOLDEN["leaf_label"])
    wanted = GOLDEN["leaf_position"].max(0)
    np.testing.assert_allclose(position, wanted, atol=1e-5)
    head = CoRe(1, HeadConfig(pool=1), nnx.Rngs(0))
    head.intervals[...] = jnp.asarray(intervals, jnp.float32)
    outputs = {"logprob": jnp.asarray(GOLDEN["leaf_logprob"]), "position": jnp.asarray(GOLDEN["delta"])}
    np.testing.assert_allclose(head.pair_distribution(outputs).mode, GOLDEN["inference"][:, 0], rtol=1e-5)
