"""Comparing batches."""

import numpy as np


def assert_same(left, right):
    """Both sequences of batches have the same arrays."""
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
