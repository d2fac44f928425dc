"""Batch normalisation by running statistics, folded into the convolutions before it.

``bn(conv(x))`` with a fixed mean and variance is a convolution with another kernel and a bias (Jacob et al. 2018,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference", section 3.2)::

    a = scale / sqrt(variance + epsilon)
    conv(x, kernel) * a + bias - mean * a  =  conv(x, kernel * a) + (bias - mean * a)

The same numbers up to rounding. In bfloat16 it saves a rounding, and the statistics stay float32 until they are in the
kernel; low-rank updates of a kernel are added to it once.
"""

from typing import cast

import jax
from flax import nnx

from aqa_jax.models.i3d import BatchNorm, BNMode, Unit


class Shift(nnx.Module):
    """What is left of a folded batch normalisation: a bias per channel."""

    def __init__(self, bias: jax.Array):
        """Adds ``bias`` [C] along the last axis."""
        self.bias = nnx.Param(bias)

    def __call__(self, x: jax.Array, mode: BNMode, axis_name: str | None = None) -> jax.Array:
        """[..., C] -> the same shape, in the dtype of ``x``."""
        assert mode == "frozen", "a folded network has no statistics to update"
        return x + self.bias[...].astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def fold(model: nnx.Module) -> None:
    """Folds every batch normalisation of ``model`` (I3D, or a part of it) in place; statistics are frozen from then on.

    Works on jax and numpy arrays alike, in their dtype.
    """
    for _, unit in list(nnx.iter_modules(model)):
        if isinstance(unit, Unit):
            bn = unit.bn
            a = bn.scale[...] * (bn.var[...] + bn.dialect.bn_epsilon) ** -0.5
            unit.conv.kernel = nnx.Param(unit.conv.weights() * a.reshape(1, 1, 1, 1, -1))
            unit.conv.low_rank = None
            unit.bn = cast(BatchNorm, Shift(bn.bias[...] - bn.mean[...] * a))
