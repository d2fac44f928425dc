import ml_dtypes
import numpy as np
import pytest

from aqa_jax.weights.bfloat16 import widened


@pytest.mark.parametrize("shape", [(), (2**16,), (0, 3), (256, 16, 16)])
def test_every_bit_pattern_equals_ml_dtypes(shape):
    bits = np.arange(np.prod(shape, dtype=int), dtype="<u2").reshape(shape)
    expected = bits.view(ml_dtypes.bfloat16).astype(np.float32)
    assert isinstance(widened(bits), np.ndarray)
    assert (widened(bits).dtype, widened(bits).shape) == (np.float32, shape)
    # NaN's are compared by being NaN: the conversion may set their quiet bit.
    np.testing.assert_array_equal(widened(bits), expected)
    np.testing.assert_array_equal(widened(bits[..., ::2] if shape else bits), expected[..., ::2] if shape else expected)
