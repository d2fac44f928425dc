"""What the derivative keeps, traced and never run: nothing from before the first adapter."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from aqa_jax.models.adapters import BLOCKS, TUNING, AdapterSettings
from aqa_jax.models.i3d import I3D
from aqa_jax.train.state import Assembler

SIDE = 80
# Heights of the stem's layers, and the same padded: Mixed_3b works at 10.
STEM = {SIDE + pad for pad in range(8)} | {SIDE // 2 + pad for pad in range(3)} | {SIDE // 4 + pad for pad in range(3)}


class Backbone(nnx.Module):
    def __init__(self, **kwargs):
        self.i3d = I3D(rngs=nnx.Rngs(0), width=0.05, dialect="pecop", **kwargs)


def loss_of(trainable, form, blocks):
    """The loss as a function of (trained, groups, video), and shapes for these."""
    settings = AdapterSettings("3d", blocks)
    made = Assembler(lambda: Backbone(form=form, adapters=settings), TUNING[trainable])
    groups = jax.eval_shape(made.init)

    def loss(trained, groups, video):
        return made.merge({**groups, "trainable": trained}).i3d(video, "batch").sum()

    return loss, (groups["trainable"], groups, jax.ShapeDtypeStruct((1, 8, SIDE, SIDE, 3), jnp.float32))


def kept(trainable, form, blocks):
    """Shapes of what lies between the forward and the backward pass."""
    loss, shapes = loss_of(trainable, form, blocks)

    def residuals(trained, *rest):
        return jax.vjp(lambda trained: loss(trained, *rest), trained)[1]

    return [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(residuals, *shapes))]


def of_the_stem(shapes):
    return [s for s in shapes if any(a == b and a in STEM for a, b in pairwise(s))]


@pytest.mark.parametrize("form", ["plain", "cpu"])
def test_nothing_before_the_first_adapter_is_kept(form):
    blocks = ("Mixed_3b", "Mixed_5c")
    assert of_the_stem(kept("all", form, blocks))  # or the check would see nothing
    assert not of_the_stem(kept("adapters", form, blocks))
    # With adapters at the end alone, nothing of the blocks at an eighth and a sixteenth of the height either.
    late = kept("adapters", form, ("Mixed_5c",))
    assert not [s for s in late if any(a == b and a in (10, 12, 5, 7) for a, b in pairwise(s))]


def test_operations_of_a_step():
    def flops(trainable):
        loss, shapes = loss_of(trainable, "plain", BLOCKS)
        return jax.jit(jax.grad(loss)).lower(*shapes).cost_analysis()["flops"]

    assert flops("adapters") < 0.75 * flops("all")
