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
from aqa_jax.models.primitives import kernel_gradient as kernel_gradients
from aqa_jax.models.primitives import tiles


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


NO_PADDING = ((0, 0),) * 3


def compare(function, *arguments):
    """Values and the gradient of a random projection, for both forms: one program each."""

    def both(form):
        def projected(weight, *arguments):
            y = function(*arguments, form)
            return (y * weight).sum(), y

        shape = jax.eval_shape(lambda *a: function(*a, form), *arguments).shape
        weight = np.random.default_rng(1).standard_normal(shape)
        wanted = tuple(range(1, 1 + len(arguments)))
        (_, y), gradients = jax.jit(jax.value_and_grad(projected, wanted, has_aux=True))(weight, *arguments)
        return y, gradients

    (plain, wanted), (ours, found) = both("plain"), both("cpu")
    np.testing.assert_allclose(ours, plain, rtol=1e-10, atol=1e-10)
    for gradient, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9)


sizes = st.integers(3, 6)


# What makes the CPU form choose each of its ways, whatever the sizes: GFLOP worth tiles, few positions.
WAYS = {"tiles": (0.0, 0), "2d": (np.inf, 0), "dot": (np.inf, 10**9)}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 10), sizes, sizes),
    kernel=st.sampled_from([(1, 1, 1), (3, 3, 3), (3, 1, 2), (4, 3, 3), (7, 3, 3)]),
    strides=st.sampled_from([(1, 1, 1), (2, 2, 2), (1, 2, 2)]),
    pads=st.sampled_from([((3, 3), (0, 0), (0, 0)), ((3, 4), (0, 1), (1, 2))]),
)
def test_conv(way, size, kernel, strides, pads):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, *size, 3)))
    w = jnp.asarray(rng.standard_normal((*kernel, 3, 4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(primitives, "WORTH_TILES", [WAYS[way][0]] * 2)
        patch.setattr(primitives, "FEW_POSITIONS", WAYS[way][1])
        compare(lambda x, w, form: primitives.conv3d(x, w, strides, pads, form), x, w)


@pytest.mark.parametrize("window", [(3, 1, 2), (3, 2, 4), (4, 5, 5), (7, 7, 7), (3, 4, 9)])
@pytest.mark.parametrize(("width", "pads"), [(10, (0, 0)), (11, (0, 0)), (10, (2, 3)), (11, (3, 1))])
def test_a_narrow_strided_conv_by_tiles(window, width, pads, monkeypatch):
    monkeypatch.setattr(primitives, "WORTH_TILES", (0.0, 0.0))
    monkeypatch.setattr(primitives, "FEW_POSITIONS", 0)
    rng = np.random.default_rng(0)
    x, w = jnp.asarray(rng.standard_normal((1, 12, 9, width, 2))), jnp.asarray(rng.standard_normal((*window, 2, 3)))
    compare(lambda x, w, form: primitives.conv3d(x, w, (2, 2, 2), ((2, 3), (1, 0), pads), form), x, w)


@pytest.mark.parametrize("of_a_product", [2, 8])
@pytest.mark.parametrize("frames", [11, 17])
def test_images_put_last_by_a_product(of_a_product, frames, monkeypatch):
    monkeypatch.setattr(tiles, "_SMALL_IMAGE", 0)
    monkeypatch.setattr(tiles, "_IMAGES", of_a_product)
    rng = np.random.default_rng(0)
    x, w = jnp.asarray(rng.standard_normal((5, frames, 6, 9, 2))), jnp.asarray(rng.standard_normal((3, 2, 4, 2, 3)))
    monkeypatch.setattr(primitives, "WORTH_TILES", (0.0, 0.0))
    monkeypatch.setattr(primitives, "FEW_POSITIONS", 0)
    compare(lambda x, w, form: primitives.conv3d(x, w, (1, 1, 1), ((1, 1), (0, 1), (2, 1)), form), x, w)


@pytest.mark.parametrize(
    ("images", "out", "window", "channels", "outputs"),
    [
        (2, (13, 14), (3, 3), 5, 17),
        (35, (4, 5), (4, 4), 3, 16),  # 16 images at a time
        (16, (4, 5), (1, 2), 3, 5),
    ],
)
@pytest.mark.parametrize("strip", [1, 5 * 14 * 17 * 2, 2**18])
@pytest.mark.parametrize("dimensions", [kernel_gradients.IMAGES_FIRST, kernel_gradients.IMAGES_LAST])
def test_gradient_of_a_2d_kernel(images, out, window, channels, outputs, strip, dimensions, monkeypatch):
    monkeypatch.setattr(kernel_gradients, "STRIP", strip)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, out[0] + window[0] - 1, out[1] + window[1] - 1, channels))
    g = rng.standard_normal((images, *out, outputs))
    windows = np.lib.stride_tricks.sliding_window_view(x, out, axis=(1, 2))
    expected = np.einsum("nijchw,nhwo->ijco", windows, g, optimize=True)
    last = dimensions == kernel_gradients.IMAGES_LAST
    given = x.transpose(3, 1, 2, 0) if last else x
    found = kernel_gradients.kernel_gradient(jnp.asarray(given), jnp.asarray(g), dimensions)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_conv_of_an_image_shrunk_to_one_entry():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 2, 1, 1, 3)))
    w = jnp.asarray(rng.standard_normal((3, 3, 3, 3, 4)))
    compare(lambda x, w, form: primitives.conv3d(x, w, (1, 1, 1), ((1, 1),) * 3, form), x, w)


@pytest.mark.parametrize(("m", "r"), [(2, 3), (4, 3), (4, 4)])
def test_a_tile_is_a_correlation(m, r):
    rng = np.random.default_rng(0)
    frames, taps = rng.standard_normal(m + r - 1), rng.standard_normal(r)
    maths = tiles.transform(m, r)
    np.testing.assert_allclose(
        maths.outputs @ ((maths.taps @ taps) * (maths.frames @ frames)),
        np.correlate(frames, taps, "valid"), rtol=1e-12, atol=1e-12,
    )  # fmt: skip


def test_tiles_are_used_where_they_save_products_and_not_for_half_precision(monkeypatch):
    assert [tiles.tile_of(n, 3) for n in (1, 2, 3, 4, 8)] == [0, 2, 4, 4, 4]
    assert [tiles.tile_of(n, 4) for n in (1, 2, 4)] == [0, 4, 4]
    assert tiles.tile_of(8, 1) == 0
    monkeypatch.setattr(primitives, "WORTH_TILES", (0.0, 0.0))
    monkeypatch.setattr(primitives, "FEW_POSITIONS", 0)

    def convolutions(dtype):
        x, w = jnp.zeros((1, 4, 8, 8, 2), dtype), jnp.zeros((3, 3, 3, 2, 2), dtype)
        jaxpr = str(jax.make_jaxpr(lambda x: primitives.conv3d(x, w, (1, 1, 1), ((1, 1),) * 3, "cpu"))(x))
        return jaxpr.count("conv_general_dilated[")

    assert (convolutions(jnp.float32), convolutions(jnp.bfloat16)) == (6, 1)


def test_what_tiles_lose_in_float32(monkeypatch):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 8, 12, 12, 32)), rng.standard_normal((3, 3, 3, 32, 16))
    exact = primitives.conv3d(jnp.asarray(x), jnp.asarray(w), (1, 1, 1), ((1, 1),) * 3, "plain")
    errors = {}
    for way, (worth, few) in WAYS.items():
        monkeypatch.setattr(primitives, "WORTH_TILES", (worth, worth))
        monkeypatch.setattr(primitives, "FEW_POSITIONS", few)
        y = primitives.conv3d(jnp.float32(x), jnp.float32(w), (1, 1, 1), ((1, 1),) * 3, "cpu")
        errors[way] = float(jnp.abs(y - exact).max() / jnp.abs(exact).max())
    assert errors["2d"] < 2e-6
    assert errors["dot"] < 2e-6
    assert errors["tiles"] < 1e-5


@pytest.mark.parametrize("trained", [0, 1])
def test_of_a_frozen_kernel_no_input_is_kept(trained, monkeypatch):
    monkeypatch.setattr(primitives, "WORTH_TILES", (0.0, 0.0))
    monkeypatch.setattr(primitives, "FEW_POSITIONS", 0)
    x, w = jnp.ones((1, 4, 5, 6, 8)), jnp.ones((3, 3, 3, 8, 2))
    functions = {
        "tiles": (lambda x, w: primitives.conv3d(x, w, (1, 1, 1), ((1, 1),) * 3, "cpu"), w),
        "grouped": (lambda x, w: primitives.grouped_conv3d(x, w, ((1, 1),) * 3, "cpu"), jnp.ones((3, 3, 3, 4, 2))),
    }
    for name, (function, kernel) in functions.items():
        arguments = (x, kernel)
        of_one = partial(function, w=kernel) if trained == 0 else partial(function, x)
        _, vjp = jax.vjp(of_one, arguments[trained])
        kept = [leaf.shape for leaf in jax.tree.leaves(vjp) if leaf.size >= x.size]
        assert bool(kept) == bool(trained), (name, kept)


@pytest.mark.parametrize(
    ("window", "strides"),
    [
        ((3, 3, 3), (1, 1, 1)),
        ((1, 3, 3), (1, 2, 2)),
        ((3, 3, 3), (2, 2, 2)),
        ((2, 2, 2), (2, 2, 2)),
        ((1, 2, 1), (2, 3, 1)),  # some entries are in no window
    ],
)
@pytest.mark.parametrize("pad_value", [0.0, -np.inf])
def test_max_pool(window, strides, pad_value):
    # All values differ: which of several equal ones gets the gradient is tested below.
    x = jnp.asarray(np.random.default_rng(0).permutation(2 * 5 * 6 * 7 * 3).reshape(2, 5, 6, 7, 3) / 100.0 - 2)
    pads = ((0, 1), (1, 1), (0, 1))
    compare(lambda x, form: primitives.max_pool3d(x, window, strides, pads, pad_value, form), x)


def test_tied_maxima_give_the_gradient_to_the_first_in_time_row_column_order():
    pool = partial(primitives.max_pool3d, window=(2, 2, 2), strides=(2, 2, 2), padding=NO_PADDING, form="cpu")
    gradient = jax.jit(jax.grad(lambda x: pool(x).sum()))
    for places in itertools.combinations(itertools.product(range(2), repeat=3), 2):
        x = np.zeros((1, 2, 2, 2, 1))
        for place in places:
            x[0][place] = 1.0
        g = gradient(jnp.asarray(x))
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


@pytest.mark.parametrize("value", [0, -1, -np.inf])
@pytest.mark.parametrize("pairs", [((0, 0), (0, 0)), ((1, 0), (2, 3))])
def test_pad_as_numpy(pairs, value):
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    for entries in (x, x.astype(jnp.bfloat16), *([x.astype(np.int8)] if np.isfinite(value) else [])):
        padded = primitives.pad(jnp.asarray(entries), pairs, value)
        assert padded.dtype == entries.dtype
        np.testing.assert_array_equal(padded, np.pad(entries, pairs, constant_values=value))


def test_pad_cuts_off_where_negative():
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(primitives.pad(jnp.asarray(x), ((0, 1), (-1, -1))), [[1.0], [4.0], [0.0]])
