"""bfloat16, which numpy does not have, as float32: the same numbers, with 16 zero bits behind."""

import numpy as np


def widened(bits: np.ndarray) -> np.ndarray:
    """The float32 array whose upper halves are `bits` (little-endian uint16, any shape)."""
    wide = np.zeros((*bits.shape, 2), "<u2")
    wide[..., 1] = bits
    return wide.view("<f4").reshape(bits.shape)
