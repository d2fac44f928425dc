"""A 3-D convolution with half the multiplications: Toom-Cook (Winograd) tiles along time.

``m`` outputs of a filter of ``r`` taps need ``m * r`` products one by one, and ``m + r - 1`` by evaluating both as
polynomials, multiplying point by point and interpolating (Toom 1963; Cook 1966; for networks: Lavin & Gray, "Fast
algorithms for convolutional neural networks", CVPR 2016, which tiles the image). Here the "numbers" are whole frames:
a tile of 4 outputs of a 3x3x3 kernel is 6 two-dimensional convolutions instead of 12, and because time is the outermost
axis, forming the points and putting the outputs together are sums of whole frames. No temporal tap is copied into
channels. In float32 the error grows from 1e-6 to about 4e-6 of the largest output.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from aqa_jax.models.primitives.by_2d import conv2d
from aqa_jax.models.primitives.kernel_gradient import IMAGES_LAST, XLA_FEW_CHANNELS, kernel_gradient
from aqa_jax.models.primitives.pad import Pairs, pad

_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)  # and infinity: small numbers, so that little is lost to rounding
# Putting images last by a matrix product: entries of an image above which it is quicker, and images of one product (the
# zeros in it grow with their square).
_SMALL_IMAGE, _IMAGES = 256, 8


@dataclass(frozen=True)
class Transform:
    """``y = outputs @ ((taps @ kernel) * (frames @ x))`` for one tile.

    Attributes:
      frames: [n, n], n = m + r - 1: from a tile's frames to its points.
      taps: [n, r]: from a kernel's taps to its points.
      outputs: [m, n]: from products to outputs.
    """

    frames: np.ndarray
    taps: np.ndarray
    outputs: np.ndarray


@functools.cache
def transform(m: int, r: int) -> Transform:
    """The transform of a tile of ``m`` outputs under ``r`` taps, in float64."""
    n = m + r - 1

    def values(terms: int) -> np.ndarray:
        """[n, terms]: what each coefficient adds to the polynomial's value at each point (at infinity: the last's)."""
        at_infinity = np.eye(terms)[-1:]
        return np.concatenate([np.power.outer(_POINTS[: n - 1], range(terms)), at_infinity])

    # Multiplying polynomials is evaluate, multiply, interpolate; a correlation is the transpose of that.
    frames = np.linalg.inv(values(n)).T
    # Whole numbers in the transform that is applied most; the kernel's takes the denominators.
    scale = np.array([1 / np.abs(row[np.abs(row) > 1e-9]).min() for row in frames])
    frames = frames * scale[:, None]
    rounded = np.round(frames)
    frames = np.where(np.abs(frames - rounded) < 1e-9, rounded, frames)
    return Transform(frames, values(r) / scale[:, None], values(m).T)


def tile_of(outputs: int, taps: int) -> int:
    """Outputs per tile for a row of ``outputs``, 0 where tiles save nothing. The last tile may be partly unused."""
    for m in (2, 4):
        if outputs <= m or m == 4:
            tiles = -(-outputs // m)
            saves = tiles * (m + taps - 1) < outputs * taps
            if saves and taps - 1 <= m:
                return m
    return 0


def conv_by_tiles(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pairs, tile: int) -> jax.Array:
    """Cross-correlation of [B, T, H, W, C] with [kt, kh, kw, C, O]; the stride along time is 1 or 2.

    At stride 2, two frames become one of twice the channels, and two taps one.
    """
    out_time = (x.shape[1] + sum(padding[0]) - kernel.shape[0]) // strides[0] + 1
    tiles = -(-out_time // tile)
    kernel = _pad_end(kernel, 0, -kernel.shape[0] % strides[0])
    frames = strides[0] * (tiles * tile - 1) + kernel.shape[0]
    x = pad(x, ((0, 0), (padding[0][0], 0), (0, 0), (0, 0), (0, 0)))
    x = _pad_end(x[:, :frames], 1, frames - x.shape[1])
    if strides[0] == 2:
        x = jnp.concatenate([x[:, 0::2], x[:, 1::2]], axis=-1)
        kernel = jnp.concatenate([kernel[0::2], kernel[1::2]], axis=3)
    return _tiled(x, kernel, tile, tuple(strides[1:]), tuple(map(tuple, padding[1:])))[:, :out_time]


def _pad_end(x, axis, count):
    return pad(x, [(0, max(count, 0) if i == axis else 0) for i in range(x.ndim)])


def _mix(coefficients: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """Each row's weighted sum of the parts, without the zeros and ones."""
    return [_weighted(row, parts) for row in coefficients]


def _weighted(row, parts):
    # By lax: there are many of these, and an operator of an array takes several times as long to trace.
    total = None
    for c, part in zip(row, parts, strict=True):
        if c == 0:
            continue
        term = part if abs(c) == 1 else lax.mul(part, np.asarray(abs(c), part.dtype))
        if total is None:
            total = term if c > 0 else lax.neg(term)
        else:
            total = lax.add(total, term) if c > 0 else lax.sub(total, term)
    return total


def _points(x, tile, taps):
    """The points of every tile of ``x`` [B, d * tile + taps - 1, H, W, C]: n arrays [B * d, H, W, C]."""
    frames = x.shape[1] - taps + 1
    parts = [lax.slice_in_dim(x, i, i + frames - tile + 1, tile, axis=1) for i in range(tile + taps - 1)]
    return [v.reshape(-1, *x.shape[2:]) for v in _mix(transform(tile, taps).frames, parts)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _tiled(x, kernel, tile, strides, padding):
    taps, batch = kernel.shape[0], x.shape[0]
    maths, dilation = transform(tile, taps), 1
    if strides[1] == 2 and max(kernel.shape[3:]) <= XLA_FEW_CHANNELS:
        x, kernel, padding = _columns_as_channels(x, kernel, padding)
        strides, dilation = (strides[0], 1), 2
    weights = _mix(maths.taps, list(kernel))
    products = [
        conv2d(v, u, strides, padding, dilation) for v, u in zip(_points(x, tile, taps), weights, strict=True)
    ]  # fmt: skip
    y = jnp.stack([a.reshape(batch, -1, *a.shape[1:]) for a in _mix(maths.outputs, products)], axis=2)
    return y.reshape(batch, -1, *y.shape[3:])


def _columns_as_channels(x, kernel, padding):
    """Arguments of a convolution at stride 2 along W -> at stride 1: four columns as channels, every second a tap."""
    low, high = padding[1]
    out = (x.shape[3] + low + high - kernel.shape[2]) // 2 + 1
    kernel = _pad_end(kernel, 2, -kernel.shape[2] % 4)
    taps = kernel.shape[2] // 4
    pairs = out + 2 * taps - 1
    x = x[:, :, :, : 2 * pairs - low]  # a last column that no output sees
    x = pad(x, ((0, 0), (0, 0), (0, 0), (low, 2 * pairs - low - x.shape[3]), (0, 0)))
    x = x.reshape(*x.shape[:3], pairs, -1)
    x = jnp.concatenate([x[:, :, :, :-1], x[:, :, :, 1:]], axis=-1)
    return x, kernel.reshape(*kernel.shape[:2], taps, -1, kernel.shape[4]), (padding[0], (0, 0))


def _tiled_fwd(x, kernel, tile, strides, padding):
    # Of a frozen kernel no input need be kept.
    kept = x.value if kernel.perturbed else None
    out = _tiled(x.value, kernel.value, tile, strides, padding)
    return out, (kept, kernel.value, x.value.shape if x.perturbed else None)


def _tiled_bwd(tile, strides, padding, residuals, g):
    x, kernel, x_shape = residuals
    if isinstance(g, SymbolicZero):
        return None, None
    taps, batch = kernel.shape[0], g.shape[0]
    maths = transform(tile, taps)
    rows = g.reshape(batch, -1, tile, *g.shape[2:])
    dproducts = [d.reshape(-1, *g.shape[2:]) for d in _mix(maths.outputs.T, [rows[:, :, k] for k in range(tile)])]
    dx = dkernel = None
    if x is not None:
        # Padded beforehand for this gradient alone: it puts the batch last, which is slow where an image has a power of
        # two of entries, whereas a strided convolution is five times slower on an image that was padded before it.
        x = pad(x, ((0, 0), (0, 0), *padding, (0, 0)))
        x = _strides_as_channels(x, strides, kernel.shape[1:3], g.shape[2:4])
        of_points = _by_products if _large_and_narrow(*g.shape[2:]) else _by_sums
        dweights = of_points(x, dproducts, tile, taps)
        dweights = [_channels_as_strides(d, strides, kernel.shape[1:4]) for d in dweights]
        dkernel = jnp.stack(_mix(maths.taps.T, dweights))
    if x_shape is not None:
        like = jax.ShapeDtypeStruct((dproducts[0].shape[0], *x_shape[2:]), g.dtype)
        weights = _mix(maths.taps, list(kernel))
        dpoints = [
            jax.linear_transpose(lambda v, u=u: conv2d(v, u, strides, padding), like)(d)[0]
            for u, d in zip(weights, dproducts, strict=True)
        ]
        dframes = [d.reshape(batch, -1, *d.shape[1:]) for d in _mix(maths.frames.T, dpoints)]
        dx = _overlapped(dframes, tile)[:, : x_shape[1]]
    return dx, dkernel


def _large_and_narrow(height, width, channels):
    """Whether :func:`_by_products` is quicker than :func:`_by_sums`."""
    return channels <= XLA_FEW_CHANNELS and height * width > _SMALL_IMAGE


def _by_sums(x, dproducts, tile, taps):
    """The gradient of the kernel of each point."""
    return [kernel_gradient(v, d) for v, d in zip(_points(x, tile, taps), dproducts, strict=True)]


def _by_products(x, dproducts, tile, taps):
    """As :func:`_by_sums`. XLA would put a sum's images last entry by entry, which takes as long as the rest.

    A product with a sparse matrix is quicker, for a few clips: their frames next to one another are its columns.
    """
    tiles = (x.shape[1] - taps + 1) // tile
    clips, parts = max(_IMAGES // tiles, 1), []
    for i in range(0, len(x), clips):
        points = _points_images_last(x[i : i + clips], tile, taps)
        of_clips = slice(i * tiles, (i + clips) * tiles)
        parts.append([kernel_gradient(v, d[of_clips], IMAGES_LAST) for v, d in zip(points, dproducts, strict=True)])
    return [sum(of_point[1:], of_point[0]) for of_point in zip(*parts, strict=True)]


def _points_images_last(x, tile, taps):
    """As :func:`_points`: n arrays [C, H, W, B * d]."""
    coefficients, (batch, frames) = transform(tile, taps).frames, x.shape[:2]
    tiles = (frames - taps + 1) // tile
    spread = np.zeros((len(coefficients), batch, frames, batch, tiles))
    for b, d in np.ndindex(batch, tiles):
        spread[:, b, d * tile : d * tile + tile + taps - 1, b, d] = coefficients
    flat = x.transpose(4, 2, 3, 0, 1).reshape(-1, batch * frames)
    return [
        (flat @ one.reshape(batch * frames, -1).astype(x.dtype)).reshape(x.shape[4], *x.shape[2:4], -1)
        for one in spread
    ]


def _strides_as_channels(x, strides, window, out):
    """[B, T, H, W, C] -> [B, T, H', W', sh * sw * C], on which a strided convolution is one of a smaller window.

    XLA's gradient of a strided convolution's kernel takes longer than that of the unstrided one.
    """
    sizes = [n + (k - 1) // s for n, k, s in zip(out, window, strides, strict=True)]
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True), start=2):
        x = lax.slice_in_dim(x, 0, min(size * stride, x.shape[axis]), axis=axis)
        x = _pad_end(x, axis, size * stride - x.shape[axis])
    x = x.reshape(*x.shape[:2], sizes[0], strides[0], sizes[1], strides[1], x.shape[4]).transpose(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(*x.shape[:2], *sizes, -1)


def _channels_as_strides(dkernel, strides, shape):
    """A kernel's gradient under :func:`_strides_as_channels` -> [kh, kw, C, O]."""
    rows, columns, _, outputs = dkernel.shape
    parts = dkernel.reshape(rows, columns, *strides, shape[2], outputs).transpose(0, 2, 1, 3, 4, 5)
    return parts.reshape(rows * strides[0], columns * strides[1], *parts.shape[4:])[: shape[0], : shape[1]]


def _overlapped(dframes, tile):
    """n arrays [B, d, ...], a tile's frames each -> [B, (d + 1) * tile, ...]: the frames two tiles share are summed."""
    ends = [(0, 0)] * (dframes[0].ndim - 2)
    frames = []
    for j in range(tile):
        frame = pad(dframes[j], ((0, 0), (0, 1), *ends))
        if tile + j < len(dframes):
            frame = lax.add(frame, pad(dframes[tile + j], ((0, 0), (1, 0), *ends)))
        frames.append(frame)
    stacked = jnp.stack(frames, axis=2)
    return stacked.reshape(stacked.shape[0], -1, *stacked.shape[3:])


_tiled.defvjp(_tiled_fwd, _tiled_bwd, symbolic_zeros=True)
