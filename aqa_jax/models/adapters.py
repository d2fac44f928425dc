"""Tuning a few parameters of a frozen backbone: 3D-Adapters (PECoP, WACV 2024, arXiv 2311.07603) and their like.

What is added to the network is of the Variable type :class:`AdapterParam`; what a run trains is one word, a key of
:data:`TUNING`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from aqa_jax.models import initializers, primitives

Kind = Literal["none", "3d", "lora"]
BLOCKS = tuple(f"Mixed_{name}" for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"))
_SAME = ((1, 1),) * 3


class AdapterParam(nnx.Param):
    """A weight that an adapter adds to the backbone."""


@dataclass(frozen=True)
class AdapterSettings:
    """What is added to the backbone, and where.

    Attributes:
      kind: ``3d`` (a residual 3D-Adapter after a block), ``lora`` (a low-rank update of a block's kernels), ``none``.
      blocks: the Inception modules that get one.
      ratio: channels of the block per channel of a 3D-Adapter's bottleneck.
      rank: of a low-rank update.
      zero_scale: a 3D-Adapter's scales start at 0, so that it starts as the identity; published: 1.
      depthwise: the bottleneck is a 1x1x1 convolution, then a depthwise 3x3x3 one (ST-Adapter, NeurIPS 2022), instead
        of one grouped 3x3x3 convolution.
    """

    kind: Kind = "none"
    blocks: tuple[str, ...] = BLOCKS
    ratio: int = 4
    rank: int = 4
    zero_scale: bool = False
    depthwise: bool = False

    def of(self, block: str) -> Kind:
        """What ``block`` gets."""
        return self.kind if block in self.blocks else "none"


class _Conv(nnx.Module):
    """Kernel ``[kt, kh, kw, C per group, O]`` and bias, both drawn as torch's convolutions draw theirs."""

    def __init__(self, shape: tuple[int, ...], rngs: nnx.Rngs):
        bound = 1 / math.sqrt(math.prod(shape[:-1]))
        self.kernel = AdapterParam(initializers.uniform(rngs.params(), shape, bound))
        self.bias = AdapterParam(initializers.uniform(rngs.params(), shape[-1:], bound))


class Adapter3D(nnx.Module):
    """``x + scale * up(relu(down(x)))`` (PECoP's ``tuning_module``).

    ``down`` is a 3x3x3 convolution of C channels to C / ratio, each made of ``ratio`` neighbouring channels; ``up`` a
    1x1x1 convolution back to C. Where C is no multiple of the ratio, the last group sees zeros in the missing channels.
    """

    def __init__(self, channels: int, settings: AdapterSettings, form: primitives.Form, rngs: nnx.Rngs):
        """Makes an adapter of a block with that many output ``channels``."""
        narrow = -(-channels // settings.ratio)
        self.reduce = _Conv((1, 1, 1, channels, narrow), rngs) if settings.depthwise else None
        self.down = _Conv((3, 3, 3, 1 if settings.depthwise else settings.ratio, narrow), rngs)
        self.up = _Conv((1, 1, 1, narrow, channels), rngs)
        self.scale = AdapterParam(jnp.zeros(channels) if settings.zero_scale else jnp.ones(channels))
        self.form = form

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, H, W, C] -> the same shape."""
        narrow = x
        if self.reduce is not None:
            narrow = self._conv(narrow, self.reduce)
        groups = self.down.kernel.shape[3] * self.down.kernel.shape[4]
        narrow = primitives.pad(narrow, ((0, 0),) * 4 + ((0, groups - narrow.shape[-1]),))
        narrow = primitives.grouped_conv3d(narrow, self.down.kernel[...], _SAME, self.form)
        narrow = jax.nn.relu(narrow + _like(self.down.bias[...], narrow))
        return x + _like(self.scale[...], x) * self._conv(narrow, self.up)

    def _conv(self, x: jax.Array, conv: _Conv) -> jax.Array:
        y = primitives.conv3d(x, conv.kernel[...], form=self.form)
        return y + _like(conv.bias[...], y)


class LowRank(nnx.Module):
    """An update of a frozen kernel by a product of two thin ones (LoRA, ICLR 2022), zero at the start."""

    def __init__(self, shape: tuple[int, ...], rank: int, rngs: nnx.Rngs):
        """For a kernel of ``shape`` [kt, kh, kw, C, O]."""
        *window, channels, out_channels = shape
        bound = 1 / math.sqrt(math.prod(window) * channels)
        self.down = AdapterParam(initializers.uniform(rngs.params(), (*window, channels, rank), bound))
        self.up = AdapterParam(jnp.zeros((rank, out_channels)))

    def __call__(self, kernel: jax.Array) -> jax.Array:
        """The updated kernel: as cheap to apply as the frozen one."""
        return kernel + jnp.einsum("thwcr,ro->thwco", self.down[...], self.up[...])


def _like(values: jax.Array, x: jax.Array) -> jax.Array:
    return values.astype(x.dtype).reshape((1,) * (x.ndim - 1) + values.shape)


# What config.train.trainable may say: whether the parameter at a path in the model, of a Variable type, is trained.
# The head is in all of them: nothing is learnt without it.
TUNING: dict[str, Callable[[tuple[str, ...], Any], bool]] = {
    "all": lambda path, variable: True,
    "head": lambda path, variable: path[0] == "head",
    "adapters": lambda path, variable: path[0] == "head" or isinstance(variable, AdapterParam),
    "norm": lambda path, variable: path[0] == "head" or path[-2] == "bn",
    "bias": lambda path, variable: path[0] == "head" or path[-1] == "bias",
}
