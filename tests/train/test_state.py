"""Groups of a state: every leaf in exactly one, and values put in by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aqa_jax.errors import WeightsError
from aqa_jax.models.adapters import TUNING, AdapterSettings
from aqa_jax.models.heads.base import Constant
from aqa_jax.models.i3d import I3D
from aqa_jax.train import state as states
from aqa_jax.train.state import Assembler


class Tiny(nnx.Module):
    def __init__(self):
        self.i3d = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
        self.unit = Constant(np.float32(5.0))

    def __call__(self, x):
        return self.head(self.i3d(x)) * self.unit[...]


def assembler(trainable=lambda path, variable: path[0] == "head"):
    return Assembler(Tiny, trainable)


def test_every_leaf_is_in_exactly_one_group():
    groups = assembler().init()
    names = [set(states.flat(groups, (group,))) for group in states.GROUPS]
    assert set().union(*names) == set(states.flat(groups))
    assert sum(map(len, names)) == len(states.flat(groups)) == 9
    assert names[0] == {"head/kernel", "head/bias"}
    assert names[3] == {"unit"}


def test_the_module_comes_back_as_it_was():
    made = assembler()
    x = np.ones((4, 2), np.float32)
    ours = jax.jit(lambda groups: made.merge(groups)(x))(made.init())
    np.testing.assert_allclose(ours, Tiny()(x), rtol=1e-6)


def test_values_by_name_and_what_does_not_fit():
    groups = assembler().init()
    changed = states.with_values(groups, {"i3d/bias": np.array([1.0, 2.0, 3.0])})
    np.testing.assert_array_equal(changed["frozen"]["i3d"]["bias"], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(groups["frozen"]["i3d"]["bias"], np.zeros(3))
    with pytest.raises(WeightsError, match=r"i3d/bias: the file has shape \(4,\), the model \(3,\)"):
        states.with_values(groups, {"i3d/bias": np.zeros(4)})
    with pytest.raises(WeightsError, match="The model has no i3d/bais"):
        states.with_values(groups, {"i3d/bais": np.zeros(3)})


def test_the_table_counts_every_parameter_once():
    made = assembler()
    lines = states.parameter_table(made.init(), made.parameters).splitlines()
    assert lines[-1].split() == ["total", "4", "15", "19"]


class Adapted(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.head = nnx.Linear(10, 2, rngs=rngs)
        self.i3d = I3D(rngs=rngs, width=0.05, adapters=AdapterSettings("3d"))


@pytest.mark.parametrize("word", TUNING)
def test_the_table_of_a_backbone_with_adapters(word):
    made = Assembler(Adapted, TUNING[word])
    text = states.parameter_table(jax.eval_shape(made.init), made.parameters)
    rows = {line.split()[0]: [int(n.replace(",", "")) for n in line.split()[1:]] for line in text.splitlines()[1:]}
    assert list(rows) == ["i3d", "adapters", "head", "total"]
    assert all(trained + frozen == both for trained, frozen, both in rows.values())
    assert rows["total"] == [sum(column) for column in zip(*list(rows.values())[:3], strict=True)]
    assert rows["head"][:2] == [22, 0]
    partly = {name for name in ("i3d", "adapters") if rows[name][0]}
    assert partly == {"all": {"i3d", "adapters"}, "bias": {"i3d", "adapters"}, "norm": {"i3d"}}.get(
        word, {"adapters"} if word == "adapters" else set()
    )


def test_arrays_that_are_not_finite_are_named_by_path():
    state = {
        "step": jnp.int32(3),
        "trainable": {"nan": jnp.array([1, jnp.nan]), "both": jnp.array([jnp.inf, -jnp.inf]), "fine": jnp.ones(2)},
        # Their sum is beyond float32, and no fault.
        "large": jnp.full(8, 3e38),
        "half": jnp.array([jnp.inf], jnp.bfloat16),
    }
    assert sorted(states.not_finite(state)) == ["half", "trainable/both", "trainable/nan"]
