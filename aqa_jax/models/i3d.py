"""I3D: Inception-v1 inflated to 3-D (Carreira & Zisserman, CVPR 2017, arXiv 1705.07750).

One network, several published conventions. A :class:`Dialect` holds what the published PyTorch and TensorFlow versions
disagree on; a weight file gives its published outputs only under its own dialect.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aqa_jax.models import initializers, primitives
from aqa_jax.models.adapters import Adapter3D, AdapterSettings, LowRank

BNMode = Literal["frozen", "batch"]


@dataclass(frozen=True)
class Dialect:
    """What the published versions of I3D do differently.

    Attributes:
      bn_epsilon: added to the variance.
      bn_momentum: weight of the new batch in the running statistics (torch's convention).
      static_padding: pad by kernel and stride alone and let pools round up (hassony2); otherwise TensorFlow's SAME.
      pool_pad: the value outside the image that a max pool sees.
    """

    bn_epsilon: float = 1e-3
    bn_momentum: float = 0.1
    static_padding: bool = False
    pool_pad: float = 0.0


DIALECTS = {
    "hassony2": Dialect(static_padding=True),
    "pecop": Dialect(bn_epsilon=1e-5, static_padding=True),
    "piergiaj": Dialect(bn_momentum=0.01),
    "deepmind": Dialect(pool_pad=-math.inf),
}

# Branch channels: 1x1 | 1x1 -> 3x3 | 1x1 -> 3x3 | pool -> 1x1
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
ENDPOINTS = (
    "Conv3d_1a_7x7", "MaxPool3d_2a_3x3", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "MaxPool3d_3a_3x3", "Mixed_3b", "Mixed_3c",
    "MaxPool3d_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", "MaxPool3d_5a_2x2", "Mixed_5b",
    "Mixed_5c",
)  # fmt: skip
_POOLS = {
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}


def scaled(channels: int, width: float) -> int:
    """``channels`` of the published network at width multiplier ``width``, at least 1."""
    return max(1, round(channels * width))


def same_padding(size: int, kernel: int, stride: int, static: bool) -> tuple[int, int]:
    """Zeros before and after an axis of ``size`` entries: TensorFlow's SAME, or its size-blind copy if ``static``."""
    rest = 0 if static else size % stride
    total = max(kernel - (rest or stride), 0)
    return total // 2, total - total // 2


class BatchNorm(nnx.Module):
    """Batch normalisation with torch's conventions: biased variance to normalise, unbiased in the running average."""

    def __init__(self, channels: int, dialect: Dialect):
        """Normalises the last axis, of ``channels`` entries."""
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.var = nnx.BatchStat(jnp.ones(channels))
        self.dialect = dialect

    def __call__(self, x: jax.Array, mode: BNMode, axis_name: str | None = None) -> jax.Array:
        """``x`` [..., C] normalised by the running statistics (``frozen``) or the batch's (``batch``: updates them).

        With ``axis_name`` the batch is the whole one, over all devices of that mapped axis.
        """
        if mode == "frozen":
            mean, var = self.mean[...], self.var[...]
        else:
            mean, var = self._batch_statistics(x, axis_name)
        a = self.scale[...] * jax.lax.rsqrt(var + self.dialect.bn_epsilon)
        b = self.bias[...] - mean * a
        return x * _last_axis(a, x) + _last_axis(b, x)

    def _batch_statistics(self, x, axis_name):
        axes = tuple(range(x.ndim - 1))
        count = float(np.prod(x.shape[:-1]))
        x32 = x.astype(jnp.float32) if x.dtype in (jnp.bfloat16, jnp.float16) else x
        mean = x32.mean(axes)
        # Two passes: the one-pass form loses the variance of channels with a large mean.
        var = jnp.square(x32 - _last_axis(mean, x32)).mean(axes)
        if axis_name is not None:
            # Both in one message: a layer that waits for the other devices twice takes twice as long to wait.
            means, vars_ = jnp.moveaxis(jax.lax.all_gather(jnp.stack([mean, var]), axis_name), 1, 0)
            mean = means.mean(0)
            var = (vars_ + jnp.square(means - mean[None])).mean(0)
            count = count * jax.lax.axis_size(axis_name)
        momentum = self.dialect.bn_momentum
        unbiased = var * (count / max(count - 1, 1))
        self.mean[...] = (1 - momentum) * self.mean[...] + momentum * jax.lax.stop_gradient(mean)
        self.var[...] = (1 - momentum) * self.var[...] + momentum * jax.lax.stop_gradient(unbiased)
        return mean, var


def _last_axis(values: jax.Array, like: jax.Array) -> jax.Array:
    """[C] in the dtype of ``like``, with as many axes."""
    return values.astype(like.dtype).reshape((1,) * (like.ndim - 1) + values.shape)


class Conv(nnx.Module):
    """A bias-free 3-D convolution's kernel, ``[kt, kh, kw, C, O]``, He-initialised."""

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int, int], rngs: nnx.Rngs, rank: int = 0):
        """Makes a kernel of ``size`` (time, height, width), with an update of ``rank`` unless that is 0."""
        shape = (*size, in_channels, out_channels)
        std = math.sqrt(2.0 / (math.prod(size) * in_channels))
        self.kernel = nnx.Param(initializers.normal(rngs.params(), shape, std))
        self.low_rank = LowRank(shape, rank, rngs) if rank else None

    def weights(self) -> jax.Array:
        """The kernel, with its low-rank update if there is one."""
        return self.kernel[...] if self.low_rank is None else self.low_rank(self.kernel[...])


class Unit(nnx.Module):
    """Convolution, batch normalisation, ReLU: the originals' ``Unit3D``."""

    def __init__(self, in_channels, out_channels, size, strides, net: "Settings", rngs: nnx.Rngs, rank: int = 0):
        """Makes a unit with a kernel of ``size`` and ``strides`` in (time, height, width)."""
        self.conv = Conv(in_channels, out_channels, size, rngs, rank)
        self.bn = BatchNorm(out_channels, net.dialect)
        self.size, self.strides, self.net = size, strides, net

    def __call__(self, x: jax.Array, mode: BNMode) -> jax.Array:
        """[B, T, H, W, C] -> [B, T', H', W', O]."""
        static = self.net.dialect.static_padding
        pads = [same_padding(n, k, s, static) for n, k, s in zip(x.shape[1:4], self.size, self.strides, strict=True)]
        x = primitives.conv3d(x, self.conv.weights(), self.strides, pads, self.net.form)
        return jax.nn.relu(self.bn(x, mode, self.net.axis_name))


class Classifier(nnx.Module):
    """Kernel [1, 1, 1, C, classes] and bias of the published 1x1x1 convolution to logits."""

    def __init__(self, channels: int, num_classes: int, rngs: nnx.Rngs):
        """Makes both, He-initialised and zero."""
        self.kernel = Conv(channels, num_classes, (1, 1, 1), rngs).kernel
        self.bias = nnx.Param(jnp.zeros(num_classes))


class Mixed(nnx.Module):
    """An Inception module: four branches, concatenated (names as in piergiaj/pytorch-i3d)."""

    def __init__(self, in_channels: int, channels: tuple[int, ...], net: "Settings", rngs: nnx.Rngs, name: str):
        """Makes the branches; ``channels`` as in :data:`MIXED`, already scaled; ``name`` decides on an adapter."""
        c, one, three, stride = channels, (1, 1, 1), (3, 3, 3), (1, 1, 1)
        kind = net.adapters.of(name)
        rank = net.adapters.rank if kind == "lora" else 0
        self.b0 = Unit(in_channels, c[0], one, stride, net, rngs, rank)
        self.b1a = Unit(in_channels, c[1], one, stride, net, rngs, rank)
        self.b1b = Unit(c[1], c[2], three, stride, net, rngs, rank)
        self.b2a = Unit(in_channels, c[3], one, stride, net, rngs, rank)
        self.b2b = Unit(c[3], c[4], three, stride, net, rngs, rank)
        self.b3b = Unit(in_channels, c[5], one, stride, net, rngs, rank)
        self.net = net
        width = c[0] + c[2] + c[4] + c[5]
        self.adapter = Adapter3D(width, net.adapters, net.form, rngs) if kind == "3d" else None

    def __call__(self, x: jax.Array, mode: BNMode) -> jax.Array:
        """[B, T, H, W, C] -> [B, T, H, W, sum of the branches]."""
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1), self.net)
        branches = (
            self.b0(x, mode),
            self.b1b(self.b1a(x, mode), mode),
            self.b2b(self.b2a(x, mode), mode),
            self.b3b(pooled, mode),
        )
        x = jnp.concatenate(branches, axis=-1)
        return x if self.adapter is None else self.adapter(x)


@dataclass(frozen=True)
class Settings:
    """What every layer must know.

    Attributes:
      dialect: of the weights.
      form: of the kernels.
      axis_name: the mapped axis that batch statistics span.
      adapters: what is added to the blocks.
      remat: keep only what goes from layer to layer for the backward pass, and make the rest of it again there.
    """

    dialect: Dialect
    form: primitives.Form = "auto"
    axis_name: str | None = None
    adapters: AdapterSettings = AdapterSettings()  # noqa: RUF009  (frozen)
    remat: bool = False


def max_pool(x: jax.Array, window, strides, net: Settings) -> jax.Array:
    """A max pool under the dialect's padding."""
    dialect = net.dialect
    pads = []
    for size, k, s in zip(x.shape[1:4], window, strides, strict=True):
        pads.append(same_padding(size, k, s, dialect.static_padding))
    x = primitives.pad(x, ((0, 0), *pads, (0, 0)), dialect.pool_pad)
    extra = [(0, 0)] * 3
    if dialect.static_padding:
        # torch's ceil_mode: a last, partial window counts if it starts inside the padded input.
        for axis, (k, s) in enumerate(zip(window, strides, strict=True)):
            size = x.shape[axis + 1]
            out = -(-(size - k) // s) + 1
            out -= (out - 1) * s >= size
            extra[axis] = (0, max((out - 1) * s + k - size, 0))
    return primitives.max_pool3d(x, window, strides, extra, -math.inf, net.form)


def _remade(layer: nnx.Module, x: jax.Array, mode: BNMode) -> jax.Array:
    """``layer(x, mode)``, of whose inside the backward pass keeps nothing."""
    graph, *groups = nnx.split(layer, nnx.BatchStat, ...)

    @jax.checkpoint
    def run(x, groups):
        inner: Any = nnx.merge(graph, *groups)
        return inner(x, mode), nnx.state(inner, nnx.BatchStat)

    y, new = run(x, groups)
    if mode == "batch":
        nnx.update(layer, new)
    return y


class I3D(nnx.Module):
    """The backbone, from frames to a feature of ``1024 * width`` entries per temporal position.

    ``layers`` are the names of its layers, from :data:`ENDPOINTS`.
    """

    def __init__(
        self, *, rngs: nnx.Rngs, dialect: str = "piergiaj", width: float = 1.0, num_classes: int = 0,
        form: primitives.Form = "auto", axis_name: str | None = None, adapters: AdapterSettings | None = None,
        remat: bool = False, final_endpoint: str = "Mixed_5c",
    ):  # fmt: skip
        """Makes the network.

        Args:
          rngs: source of the initial weights.
          dialect: a key of :data:`DIALECTS`.
          width: multiplier of every channel count.
          num_classes: logits of a classifier on top (400 in the Kinetics files); 0 for none.
          form: of the kernels, see :mod:`aqa_jax.models.primitives`.
          axis_name: mapped axis over which batch statistics are taken.
          adapters: what is added to the Inception modules; None: nothing.
          remat: see :class:`Settings`; it takes memory from the backward pass and adds a second forward pass to it.
          final_endpoint: the last Inception module that there is (as in piergiaj/pytorch-i3d); the logits of the
            Kinetics files need all of them.
        """
        net = Settings(DIALECTS[dialect], form, axis_name, adapters or AdapterSettings(), remat)
        c64, c192 = scaled(64, width), scaled(192, width)
        self.Conv3d_1a_7x7 = Unit(3, c64, (7, 7, 7), (2, 2, 2), net, rngs)
        self.Conv3d_2b_1x1 = Unit(c64, c64, (1, 1, 1), (1, 1, 1), net, rngs)
        self.Conv3d_2c_3x3 = Unit(c64, c192, (3, 3, 3), (1, 1, 1), net, rngs)
        channels = c192
        for name, published in MIXED.items():
            branches = tuple(scaled(c, width) for c in published)
            setattr(self, name, Mixed(channels, branches, net, rngs, name))
            channels = branches[0] + branches[2] + branches[4] + branches[5]
            if name == final_endpoint:
                break
        self.layers = ENDPOINTS[: ENDPOINTS.index(final_endpoint) + 1]
        self.feature_size = channels
        self.net = net
        self.logits = Classifier(channels, num_classes, rngs) if num_classes else None

    def endpoints(
        self, video: jax.Array, mode: BNMode = "frozen", *, after: str = ""
    ) -> Iterator[tuple[str, jax.Array]]:
        """Name and activation of every layer in ``layers``, one after the other.

        With ``after``, ``video`` is that layer's activation, and the layers behind it follow.
        """
        x = video
        for name in self.layers[self.layers.index(after) + 1 if after else 0 :]:
            x = max_pool(x, *_POOLS[name], self.net) if name in _POOLS else self._layer(name)(x, mode)
            yield name, x

    def _layer(self, name: str) -> Callable[[jax.Array, BNMode], jax.Array]:
        layer = getattr(self, name)
        if not self.net.remat:
            return layer
        return partial(_remade, layer)

    def __call__(self, video: jax.Array, mode: BNMode = "frozen") -> jax.Array:
        """Features of a clip.

        Args:
          video: [B, T, H, W, 3], already normalised; its dtype is the compute dtype.
          mode: batch normalisation by the running statistics (``frozen``) or by the batch's (``batch``).

        Returns:
          [B, T', C] float32: the average pool (2, 7, 7) over the last layer, then the mean over what space is left (one
          position at 224 px, so there the published feature). T' is 1 for 16 frames, 3 for 32.
        """
        *_, (_, x) = self.endpoints(video, mode)
        return self.pool(x)

    def pool(self, last: jax.Array) -> jax.Array:
        """[B, T, H, W, C] of the last layer -> features [B, T', C] float32."""
        return primitives.avg_pool3d(last.astype(jnp.float32), (2, 7, 7)).mean((2, 3))

    def classify(self, features: jax.Array) -> jax.Array:
        """[B, T', C] -> logits [B, classes], averaged over time as the originals do."""
        assert self.logits is not None, "made with num_classes=0"
        return features.mean(1) @ self.logits.kernel[0, 0, 0] + self.logits.bias[None]
