"""The CPU form of every 3-D operation against the plain form, in float64: values and gradients."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqa_jax.models import primitives


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


NO_PADDING = ((0, 0),) * 3


def compare(function, *arguments):
    """Values and the gradient of a random projection, for both forms."""
    outputs = {form: function(*arguments, form) for form in ("plain", "cpu")}
    np.testing.assert_allclose(outputs["cpu"], outputs["plain"], rtol=1e-10, atol=1e-10)
    weight = np.random.default_rng(1).standard_normal(outputs["plain"].shape)
    for i in range(len(arguments)):
        gradients = []
        for form in ("plain", "cpu"):
            gradients.append(jax.grad(lambda *a, f=form: (function(*a, f) * weight).sum(), argnums=i)(*arguments))
        np.testing.assert_allclose(*gradients, rtol=1e-9, atol=1e-9)


sizes = st.integers(3, 6)


@settings(max_examples=8, deadline=None)
@given(
    size=st.tuples(sizes, sizes, sizes),
    kernel=st.sampled_from([(1, 1, 1), (3, 3, 3), (3, 1, 2)]),
    strides=st.sampled_from([(1, 1, 1), (2, 2, 2), (1, 2, 2)]),
    pads=st.sampled_from([((0, 0), (0, 0), (0, 0)), ((1, 1), (0, 1), (1, 2))]),
)
def test_conv(size, kernel, strides, pads):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, *size, 3)))
    w = jnp.asarray(rng.standard_normal((*kernel, 3, 4)))
    compare(lambda x, w, form: primitives.conv3d(x, w, strides, pads, form), x, w)


@pytest.mark.parametrize(
    ("window", "strides"),
    [((3, 3, 3), (1, 1, 1)), ((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2))],
)
@pytest.mark.parametrize("pad_value", [0.0, -np.inf])
def test_max_pool(window, strides, pad_value):
    # All values differ: which of several equal ones gets the gradient is tested below.
    x = jnp.asarray(np.random.default_rng(0).permutation(2 * 5 * 6 * 7 * 3).reshape(2, 5, 6, 7, 3) / 100.0 - 2)
    pads = ((0, 1), (1, 1), (0, 1))
    compare(lambda x, form: primitives.max_pool3d(x, window, strides, pads, pad_value, form), x)


def test_tied_maxima_give_the_gradient_to_the_first_in_time_row_column_order():
    for places in itertools.combinations(itertools.product(range(2), repeat=3), 2):
        x = np.zeros((1, 2, 2, 2, 1))
        for place in places:
            x[0][place] = 1.0
        pool = partial(primitives.max_pool3d, window=(2, 2, 2), strides=(2, 2, 2), padding=NO_PADDING, form="cpu")
        g = jax.grad(lambda x, pool=pool: pool(x).sum())(jnp.asarray(x))
        expected = np.zeros_like(x)
        expected[0][min(places)] = 1.0
        np.testing.assert_array_equal(g, expected)


def test_nan_passes_through_a_pool():
    x = jnp.zeros((1, 3, 3, 3, 1)).at[0, 1, 1, 1, 0].set(jnp.nan)
    y = primitives.max_pool3d(x, (3, 3, 3), (1, 1, 1), ((1, 1),) * 3, 0.0, "cpu")
    assert jnp.isnan(y).all()


def test_average_pool_is_cut_to_the_input():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 1, 4, 9, 3)))
    y = primitives.avg_pool3d(x, (2, 7, 7))
    assert y.shape == (2, 1, 1, 3, 3)
    np.testing.assert_allclose(y[:, 0, 0, 1], x[:, 0, :, 1:8].mean((1, 2)), rtol=1e-12)


@pytest.mark.parametrize(
    ("size", "kernel", "pads"),
    [
        ((5, 4, 3), (3, 3, 3, 4, 3), ((1, 1),) * 3),
        ((4, 1, 1), (3, 3, 3, 4, 2), ((1, 1),) * 3),  # most taps see nothing but padding
        ((3, 2, 5), (3, 3, 3, 1, 6), ((1, 1),) * 3),  # depthwise
        ((4, 3, 3), (2, 3, 1, 2, 2), ((0, 1), (1, 0), (0, 0))),
    ],
)
def test_grouped_conv(size, kernel, pads):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, *size, kernel[3] * kernel[4])))
    w = jnp.asarray(rng.standard_normal(kernel))
    compare(lambda x, w, form: primitives.grouped_conv3d(x, w, pads, form), x, w)
