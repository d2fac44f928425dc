"""The gradient of a 2-D convolution's kernel, in the form that XLA's CPU back end is fastest at.

It is a convolution whose window is a whole image and whose channels are the images of the batch. The window is read
again for every entry of the kernel, so it goes through in strips of rows that stay in a core's cache.
"""

import jax
from jax import lax

# Entries of a strip of the window: a megabyte in float32.
STRIP = 2**18
# XLA has two kinds of 2-D convolution, and takes the other one for up to as many channels, in and out. That is the
# slower one for small windows, and the faster one for these.
XLA_FEW_CHANNELS = 16
# How input and gradient lie in memory, as jax names dimensions: of the gradient's convolution, images are the channels.
IMAGES_FIRST = ("CHWN", "IHWO", "HWNC")
IMAGES_LAST = ("NHWC", "IHWO", "HWNC")


def kernel_gradient(x: jax.Array, g: jax.Array, dimensions: tuple[str, str, str] = IMAGES_FIRST) -> jax.Array:
    """``g`` [N, H, W, O] pulled back to the kernel of a convolution at stride 1.

    Args:
      x: [N, H + kh - 1, W + kw - 1, C], the convolution's input with its padding, or with :data:`IMAGES_LAST`
        [C, H + kh - 1, W + kw - 1, N].
      g: the gradient of its output.
      dimensions: which of the two ``x`` is.

    Returns:
      [kh, kw, C, O].
    """
    images, height, width, outputs = g.shape
    group = XLA_FEW_CHANNELS if outputs <= XLA_FEW_CHANNELS else images
    most = max(STRIP // (min(group, images) * width * outputs), 1)
    rows = -(-height // -(-height // most))  # strips as equal as can be
    more = x.shape[1] - height
    axis = dimensions[0].index("C")
    parts = [
        lax.conv_general_dilated(
            lax.slice_in_dim(x, i, min(i + group, images), axis=axis)[:, row : row + rows + more],
            g[i : i + group, row : row + rows],
            (1, 1), "VALID", dimension_numbers=dimensions,
        )
        for i in range(0, images, group) for row in range(0, height, rows)
    ]  # fmt: skip
    return sum(parts[1:], parts[0])
