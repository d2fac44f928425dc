"""CRC-32C against the vectors of RFC 3720 and a plain loop."""

import numpy as np
import pytest

from aqa_jax.weights.crc32c import crc32c, masked


@pytest.mark.parametrize(
    "data, crc",
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_published_vectors(data, crc):
    assert crc32c(data) == crc


@pytest.mark.parametrize("size", [1, 5, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 4097])
def test_any_length_equals_a_bitwise_loop(size):
    data = np.random.default_rng(size).bytes(size)
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data) == crc ^ 0xFFFFFFFF


def test_mask_rotates_and_adds():
    assert masked(0) == 0xA282EAD8
    assert masked(0x8001) == ((0x1 | (0x8001 << 17)) + 0xA282EAD8) & 0xFFFFFFFF
