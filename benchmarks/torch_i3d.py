"""The same networks in PyTorch: what aqa_jax is timed against.

Written for this comparison, in the way that is usual and fast in PyTorch: ``nn.Conv3d`` with its own padding where that
is symmetric, in-place ReLUs, ``F.batch_norm`` with running statistics. Modules bear the names of
:mod:`aqa_jax.models.i3d`, so that :func:`load` can put our parameters into them by their paths, and both compute the
same function (static padding: dialects hassony2 and pecop).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aqa_jax.models.i3d import DIALECTS, ENDPOINTS, MIXED, same_padding, scaled

_POOLS = {
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}


def _pads(window: tuple[int, ...], strides: tuple[int, ...]) -> list[tuple[int, int]]:
    """Zeros before and after T, H, W, whatever their size."""
    return [same_padding(0, k, s, static=True) for k, s in zip(window, strides, strict=True)]


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, size: int, stride: int, epsilon: float):
        """A cubic kernel of ``size``."""
        super().__init__()
        ((low, high),) = _pads((size,), (stride,))
        self.extra = (low, high) * 3 if low != high else None
        self.conv = nn.Conv3d(in_channels, out_channels, size, stride, padding=0 if self.extra else low, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=epsilon, momentum=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, T, H, W] -> [B, O, T', H', W']."""
        if self.extra:
            x = F.pad(x, self.extra)
        return F.relu(self.bn(self.conv(x)), inplace=True)


def max_pool(x: torch.Tensor, window: tuple[int, ...], strides: tuple[int, ...], *, signed: bool) -> torch.Tensor:
    """A max pool that sees zeros outside and rounds up; ``signed``: ``x`` may be negative."""
    pads = _pads(window, strides)
    symmetric = all(low == high for low, high in pads)
    # torch's own padding is -inf: the same beside what is never negative, and 2 to 5 % of a step cheaper. Rounding up
    # makes the windows that zeros at the end alone are for, at even sizes.
    even = all(size % stride == 0 for size, stride in zip(x.shape[2:], strides, strict=True))
    if signed or not (symmetric or even):
        x = F.pad(x, [n for pair in reversed(pads) for n in pair])
        return F.max_pool3d(x, window, strides, ceil_mode=True)
    return F.max_pool3d(x, window, strides, [low for low, _ in pads] if symmetric else 0, ceil_mode=True)


class Adapter(nn.Module):
    """``x + scale * up(relu(down(x)))``, ``down`` in groups of ``ratio`` channels."""

    def __init__(self, channels: int, ratio: int = 4):
        """For a block with that many output ``channels``."""
        super().__init__()
        groups = -(-channels // ratio)
        self.missing = groups * ratio - channels
        self.down = nn.Conv3d(groups * ratio, groups, 3, padding=1, groups=groups)
        self.up = nn.Conv3d(groups, channels, 1)
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, T, H, W] -> the same shape."""
        wide = F.pad(x, (0, 0) * 3 + (0, self.missing)) if self.missing else x
        return x + self.scale[:, None, None, None] * self.up(F.relu(self.down(wide), inplace=True))


class Mixed(nn.Module):
    """An Inception module."""

    def __init__(self, in_channels: int, channels: tuple[int, ...], epsilon: float, adapted: bool, signed: bool):
        """``channels`` as in :data:`aqa_jax.models.i3d.MIXED`, scaled; ``signed``: the input may be negative."""
        super().__init__()
        c = channels
        self.b0 = Unit(in_channels, c[0], 1, 1, epsilon)
        self.b1a = Unit(in_channels, c[1], 1, 1, epsilon)
        self.b1b = Unit(c[1], c[2], 3, 1, epsilon)
        self.b2a = Unit(in_channels, c[3], 1, 1, epsilon)
        self.b2b = Unit(c[3], c[4], 3, 1, epsilon)
        self.b3b = Unit(in_channels, c[5], 1, 1, epsilon)
        self.out_channels = c[0] + c[2] + c[4] + c[5]
        self.adapter = Adapter(self.out_channels) if adapted else None
        self.signed = signed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, T, H, W] -> [B, O, T, H, W]."""
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1), signed=self.signed)
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)]
        x = torch.cat(branches, 1)
        return x if self.adapter is None else self.adapter(x)


class I3D(nn.Module):
    """The backbone, with a 3D-Adapter after every Inception module if ``adapted``."""

    def __init__(self, width: float = 1.0, *, dialect: str = "pecop", adapted: bool = False):
        """Makes the network with every channel count multiplied by ``width``."""
        super().__init__()
        assert DIALECTS[dialect].static_padding
        epsilon = DIALECTS[dialect].bn_epsilon
        c64, c192 = scaled(64, width), scaled(192, width)
        self.Conv3d_1a_7x7 = Unit(3, c64, 7, 2, epsilon)
        self.Conv3d_2b_1x1 = Unit(c64, c64, 1, 1, epsilon)
        self.Conv3d_2c_3x3 = Unit(c64, c192, 3, 1, epsilon)
        channels, self.adapted = c192, adapted
        for name, published in MIXED.items():
            branches = tuple(scaled(c, width) for c in published)
            mixed = Mixed(channels, branches, epsilon, adapted, signed=adapted and name != "Mixed_3b")
            self.add_module(name, mixed)
            channels = mixed.out_channels
        self.feature_size = channels

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        """[B, 3, T, H, W], normalised -> features [B, T', C]."""
        x, signed = video, False
        for name in ENDPOINTS:
            x = max_pool(x, *_POOLS[name], signed=signed) if name in _POOLS else getattr(self, name)(x)
            signed = signed or (self.adapted and name in MIXED)
        _, _, time, height, width = x.shape
        x = F.avg_pool3d(x.float(), (min(2, time), min(7, height), min(7, width)), 1)
        return x.mean((3, 4)).transpose(1, 2)


class ScoreHead(nn.Module):
    """DAE's head: mean and log variance of the score."""

    def __init__(self, features: int):
        """Widths as in :class:`aqa_jax.models.heads.dae.DAE`."""
        super().__init__()
        self.fc1, self.fch = nn.Linear(features, 256), nn.Linear(256, 128)
        self.fc2_mean, self.fc2_logvar = nn.Linear(128, 1), nn.Linear(128, 1)

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """[B, C] -> ``mean`` and ``logvar`` [B]."""
        hidden = F.relu(self.fch(F.relu(self.fc1(features))))
        return {"mean": self.fc2_mean(hidden)[:, 0], "logvar": self.fc2_logvar(hidden)[:, 0]}


class PaceHead(nn.Module):
    """VSPP's two classifiers."""

    def __init__(self, features: int, paces: int = 4, segments: int = 4):
        """As many classes as :class:`aqa_jax.tasks.vspp.PaceHead`."""
        super().__init__()
        self.pace, self.segment = nn.Linear(features, paces), nn.Linear(features, segments)

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """[B, T', C] -> logits [B, classes] of each."""
        mean = features.mean(1)
        return {"pace": self.pace(mean), "segment": self.segment(mean)}


class ClipModel(nn.Module):
    """Backbone and head; S clips a video, the mean of their features."""

    def __init__(self, i3d: I3D, head: nn.Module):
        """Joins both."""
        super().__init__()
        self.i3d, self.head = i3d, head

    def forward(self, video: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalised [B, S, 3, T, H, W] -> the head's outputs."""
        batch, clips = video.shape[:2]
        features = self.i3d(video.flatten(0, 1))
        if isinstance(self.head, PaceHead):
            return self.head(features)
        return self.head(features.mean(1).reshape(batch, clips, -1).mean(1))


_NAMES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var", "bias": "bias"}


def converted(path: str, value: Any) -> tuple[str, np.ndarray]:
    """An array of ours by its '/'-joined path -> its name and layout here."""
    *layers, leaf = path.split("/")
    if layers[-1] != "adapter":
        leaf = _NAMES[leaf]
    array = np.asarray(value, np.float32)
    if array.ndim == 5:
        # [kt, kh, kw, C, O] -> [O, C, kt, kh, kw]; of a grouped kernel C is a group's channels in both.
        array = array.transpose(4, 3, 0, 1, 2)
    elif array.ndim == 2:
        array = array.T
    # A copy: torch takes no array that it may not write to.
    return ".".join([*layers, leaf]), np.array(array, order="C")


def load(module: nn.Module, values: Mapping[str, Any]) -> None:
    """Fills ``module`` with arrays by their '/'-joined paths (:func:`aqa_jax.train.state.flat`), in our layouts.

    Raises:
      KeyError: an array has no place, or a place no array.
    """
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    for path, value in values.items():
        name, array = converted(path, value)
        target = wanted.pop(name)
        if target.shape != array.shape:
            raise KeyError(f"{path}: {array.shape} does not fit {tuple(target.shape)}")
        with torch.no_grad():
            target.copy_(torch.from_numpy(array))
    if wanted:
        raise KeyError(f"Without a value: {', '.join(wanted)}")


def train_only_adapters(module: nn.Module) -> None:
    """Takes the gradient from every parameter of the backbone that is not an adapter's."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("adapter" in name or name.startswith("head."))
