"""Our tree back into the originals' state dicts."""

import numpy as np
import pytest

from aqa_jax.errors import WeightsError
from aqa_jax.weights import convert, to_torch
from tests.weights import fakes

WIDTH = 0.125


@pytest.mark.parametrize("style", ["hassony2", "piergiaj"])
def test_there_and_back_to_the_bit(style):
    state = fakes.torch_state(style, WIDTH, classes=10, counters=False)
    values, _ = convert(state, fakes.targets(WIDTH, classes=10))
    back = to_torch(values, style)
    assert set(back) == set(state)
    for key, value in state.items():
        assert back[key].shape == value.shape
        assert back[key].tobytes() == value.tobytes()
        assert back[key].flags.c_contiguous


def test_from_one_style_to_the_other():
    values, _ = convert(fakes.torch_state("hassony2", WIDTH, classes=10), fakes.targets(WIDTH))
    again, report = convert(to_torch(values, "piergiaj"), fakes.targets(WIDTH))
    assert report.style == "piergiaj"
    assert all(np.array_equal(again[key], values[key]) for key in values)


def test_the_head():
    state = fakes.dae_state()
    backbone = fakes.torch_state("piergiaj", WIDTH)
    values, _ = convert(backbone | state, fakes.targets(WIDTH, head=True))
    back = to_torch(values, "piergiaj", "head")
    assert set(back) == set(state)
    assert all(np.array_equal(back[key], state[key]) for key in state)


def test_pecops_adapters():
    state = fakes.torch_state("hassony2", WIDTH, counters=False) | fakes.adapter_state(WIDTH)
    values, _ = convert(state, fakes.targets(WIDTH, classes=400) | fakes.adapter_targets(WIDTH))
    back = to_torch(values, "hassony2")
    assert set(back) == set(state)
    for key, value in state.items():
        assert back[key].shape == value.shape
        assert back[key].tobytes() == value.tobytes()
    with pytest.raises(WeightsError, match="adapter/reduce/kernel: PECoP's 3D-Adapters have no such part"):
        to_torch({"i3d/Mixed_3b/adapter/reduce/kernel": np.zeros((1, 1, 1, 8, 2))}, "hassony2")


def test_a_low_rank_update_is_added_to_its_kernel():
    root, rng = "i3d/Mixed_3b/b0/conv", np.random.default_rng(0)
    kernel, down, up = (rng.standard_normal(s).astype(np.float32) for s in ((1, 1, 1, 6, 5), (1, 1, 1, 6, 2), (2, 5)))
    flat = {f"{root}/kernel": kernel, f"{root}/low_rank/down": down, f"{root}/low_rank/up": up}
    (name, value), *rest = to_torch(flat, "piergiaj").items()
    assert (name, rest) == ("Mixed_3b.b0.conv3d.weight", [])
    np.testing.assert_allclose(value[..., 0, 0, 0], (kernel[0, 0, 0] + down[0, 0, 0] @ up).T, rtol=1e-5)


def test_what_cannot_be_exported():
    with pytest.raises(WeightsError, match="key style 'deepmind'; known: hassony2, piergiaj"):
        to_torch({}, "deepmind")
    with pytest.raises(WeightsError, match="no leaf below head/"):
        to_torch({"i3d/logits/bias": np.zeros(3)}, "piergiaj", "head")
