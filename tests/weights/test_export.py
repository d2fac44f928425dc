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


def test_what_cannot_be_exported():
    with pytest.raises(WeightsError, match="key style 'deepmind'; known: hassony2, piergiaj"):
        to_torch({}, "deepmind")
    with pytest.raises(WeightsError, match="no leaf below head/"):
        to_torch({"i3d/logits/bias": np.zeros(3)}, "piergiaj", "head")
