"""The gradient of a 2-D convolution's kernel, in the form that XLA's CPU back end is fastest at.

As one convolution its window is a whole image, and its channels are the images of the batch. Where images are large
and channels many, a matrix product over all positions for each tap is faster.
"""

import jax
import jax.numpy as jnp
from jax import lax

# Positions of an image and input channels from which matrix products are faster.
LARGE_IMAGE, MANY_CHANNELS = 14 * 14, 64
# XLA has two kinds of 2-D convolution, and takes the other one for up to as many channels, in and out. That is the
# slower one for small windows, and the faster one for these.
XLA_FEW_CHANNELS = 16


def kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    """``g`` [N, H, W, O] pulled back to the kernel of a convolution at stride 1.

    Args:
      x: [N, H + kh - 1, W + kw - 1, C], the convolution's input with its padding.
      g: the gradient of its output.

    Returns:
      [kh, kw, C, O].
    """
    (height, width, outputs), channels = g.shape[1:], x.shape[3]
    if height * width >= LARGE_IMAGE and channels >= MANY_CHANNELS:
        rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
        # Whole rows of the input, under the gradient moved along: fewer copies than of every tap's view of the input.
        moved = [jnp.pad(g, ((0, 0), (0, 0), (k, columns - 1 - k), (0, 0))) for k in range(columns)]
        products = [_product(x[:, row : row + height], at) for row in range(rows) for at in moved]
        return jnp.stack(products).reshape(rows, columns, channels, outputs)
    images = XLA_FEW_CHANNELS if outputs <= XLA_FEW_CHANNELS else len(x)
    parts = [_by_convolution(x[i : i + images], g[i : i + images]) for i in range(0, len(x), images)]
    return sum(parts[1:], parts[0])


def _product(x, g):
    """[N, H, W, C], [N, H, W, O] -> [C, O]."""
    return lax.dot_general(x.reshape(-1, x.shape[3]), g.reshape(-1, g.shape[3]), (((0,), (0,)), ((), ())))


def _by_convolution(x, g):
    return lax.conv_general_dilated(x, g, (1, 1), "VALID", dimension_numbers=("CHWN", "IHWO", "HWNC"))
