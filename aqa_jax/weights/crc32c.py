"""CRC-32C (Castagnoli), vectorised in numpy: some tens of megabytes a second and no dependency."""

import numpy as np

_POLYNOMIAL = 0x82F63B78


def _byte_table() -> np.ndarray:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> 1) ^ np.uint32(_POLYNOMIAL), crc >> 1).astype(np.uint32)
    return crc


_TABLE = _byte_table()
_BYTES = _TABLE.tolist()
# Below, a loop is quicker than matrices.
_SHORT = 1024
_BITS = np.uint32(1) << np.arange(32, dtype=np.uint32)


def _apply(columns: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Multiply states [N] by a 32x32 matrix over GF(2), given as the images [32] of the single bits."""
    result = np.zeros_like(states)
    for bit, column in enumerate(columns):
        result ^= np.where(states >> np.uint32(bit) & np.uint32(1), column, np.uint32(0))
    return result


def _shift(count: int) -> np.ndarray:
    """The matrix that feeds `count` zero bytes through the register."""
    columns, power = _BITS.copy(), (_TABLE[_BITS & 0xFF] ^ (_BITS >> np.uint32(8)))
    while count:
        if count & 1:
            columns = _apply(power, columns)
        power = _apply(power, power)
        count >>= 1
    return columns


def crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """CRC-32C of `data` (RFC 3720, appendix B.4)."""
    raw = np.frombuffer(data, np.uint8)
    size = len(raw)
    if size < _SHORT:
        state = 0xFFFFFFFF
        for byte in raw.tobytes():
            state = _BYTES[(state ^ byte) & 0xFF] ^ (state >> 8)
        return state ^ 0xFFFFFFFF
    # Independent lanes of equal length, joined two by two. Zeros in front leave a register of zero unchanged.
    levels = max(0, (size // 256).bit_length() - 1)
    lanes = 1 << levels
    length = -(-size // lanes)
    padded = np.zeros(lanes * length, np.uint8)
    padded[lanes * length - size :] = raw
    states = np.zeros(lanes, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(lanes, length).T):
        states = _TABLE[(states ^ column) & np.uint32(0xFF)] ^ (states >> np.uint32(8))
    step = _shift(length)
    for _ in range(levels):
        states = _apply(step, states[0::2]) ^ states[1::2]
        step = _apply(step, step)
    start = _apply(_shift(size), np.array([0xFFFFFFFF], np.uint32))
    return int(states[0] ^ start[0]) ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """The form in which LevelDB and TensorFlow store a CRC (so that a CRC of a CRC is no trap)."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
