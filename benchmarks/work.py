"""How many operations the network is, counted layer by layer: 2 for each multiply-add of a convolution.

Counted is what the mathematics asks for, whatever a kernel really does. ``all`` adds to the forward pass the gradients
of every kernel and of every activation; ``ad`` those of the adapters' kernels, and of the activations behind the first
adapter. Nothing asks for the gradient of the frames.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from aqa_jax.models.i3d import MIXED, scaled

Mode = Literal["fwd", "all", "ad"]


class Size(NamedTuple):
    """The shape of a batch of square videos, and the width of the network."""

    batch: int
    clips: int
    frames: int
    side: int
    width: float

    @classmethod
    def parse(cls, text: str) -> "Size":
        """From ``2x16x64@.25``: BATCHxFRAMESxSIDE, or BATCHxCLIPSxFRAMESxSIDE, and @WIDTH unless that is 1."""
        shape, _, width = text.partition("@")
        batch, *clips, frames, side = map(int, shape.split("x"))
        return cls(batch, clips[0] if clips else 1, frames, side, float(width or 1))


class Layer(NamedTuple):
    """A convolution: its forward FLOPs, whether an adapter's, and whether a trained adapter lies before it."""

    flops: float
    adapter: bool
    behind_adapter: bool


def layers(size: Size, *, adapted: bool) -> Iterator[Layer]:
    """Every convolution (static padding: sizes round up)."""
    time, space, width = _halved(size.frames), _halved(size.side), size.width
    c64, c192 = scaled(64, width), scaled(192, width)

    def conv(kernel: int, channels: int, out_channels: int, adapter: bool = False, behind: bool = False) -> Layer:
        positions = size.batch * size.clips * time * space * space
        return Layer(2.0 * positions * kernel**3 * channels * out_channels, adapter, behind)

    yield conv(7, 3, c64)
    space = _halved(space)
    yield conv(1, c64, c64)
    yield conv(3, c64, c192)
    space = _halved(space)
    channels, behind = c192, False
    for name, published in MIXED.items():
        if name in ("Mixed_4b", "Mixed_5b"):
            time, space = _halved(time), _halved(space)
        b0, b1a, b1b, b2a, b2b, b3b = (scaled(c, width) for c in published)
        for kernel, i, o in ((1, channels, b0), (1, channels, b1a), (3, b1a, b1b), (1, channels, b2a), (3, b2a, b2b),
                           (1, channels, b3b)):  # fmt: skip
            yield conv(kernel, i, o, behind=behind)
        channels = b0 + b1b + b2b + b3b
        if adapted:
            yield conv(3, 4, math.ceil(channels / 4), adapter=True, behind=behind)
            yield conv(1, math.ceil(channels / 4), channels, adapter=True, behind=True)
            behind = True


def _halved(size: int) -> int:
    return -(-size // 2)


def flops(mode: Mode, size: Size) -> float:
    """FLOPs of one pass (``fwd``) or one training step; ``ad`` has adapters in the network, the others none."""
    total = 0.0
    for index, layer in enumerate(layers(size, adapted=mode == "ad")):
        of_kernel = mode == "all" or (mode == "ad" and layer.adapter)
        of_input = (mode == "all" and index > 0) or (mode == "ad" and layer.behind_adapter)
        total += layer.flops * (1 + of_kernel + of_input)
    return total
