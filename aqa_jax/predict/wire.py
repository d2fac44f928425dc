"""Results from a process that is not trusted: a JSON header and raw array bytes, every length checked; no pickle."""

import json
import math
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np

MAX_HEADER_BYTES = 16 * 2**20
_KINDS = "biuf"
_ARRAY = "__array__"
_TUPLE = "__tuple__"
_LENGTH = struct.Struct("<Q")


class WireError(Exception):
    """What was sent is no result: cut short, oversized or malformed."""


def send(stream: IO[bytes], value: Any) -> None:
    """Writes None, bool, int, float, str, list, tuple, dict with text keys, and number arrays, nested at will.

    Raises:
      TypeError: anything else is inside.
    """
    arrays: list[np.ndarray] = []
    header = json.dumps(_described(value, arrays)).encode()
    stream.write(_LENGTH.pack(len(header)) + header)
    for array in arrays:
        if array.size:
            stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: IO[bytes], max_array_bytes: int) -> Any:
    """Reads what :func:`send` wrote; memory is bounded by ``max_array_bytes``, whatever arrives.

    Raises:
      WireError: the stream ends early, or holds something else.
    """
    (size,) = _LENGTH.unpack(_exactly(stream, bytearray(_LENGTH.size)))
    if size > MAX_HEADER_BYTES:
        raise WireError(f"a header of {size} bytes")
    header = _exactly(stream, bytearray(size))
    left = max_array_bytes

    def array(dtype: Any, shape: Any) -> np.ndarray:
        nonlocal left
        kind = np.dtype(dtype) if isinstance(dtype, str) else None
        if kind is None or kind.kind not in _KINDS or not isinstance(shape, list) or len(shape) > 16:
            raise WireError("an array is described wrongly")
        if not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise WireError("an array is described wrongly")
        left -= math.prod(shape) * kind.itemsize
        if left < 0:
            raise WireError(f"more than {max_array_bytes} bytes of arrays")
        result = np.empty(shape, kind)
        if result.size:
            _exactly(stream, result.reshape(-1).view(np.uint8).data)
        return result

    try:
        return _restored(json.loads(bytes(header)), array)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WireError(f"a malformed header ({type(error).__name__})") from error


def _exactly(stream: IO[bytes], buffer: bytearray | memoryview) -> bytearray | memoryview:
    rest = memoryview(buffer)
    while rest:
        count = stream.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise WireError("it ended early")
        rest = rest[count:]
    return buffer


def _described(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        arrays.append(np.ascontiguousarray(value))
        return {_ARRAY: [value.dtype.str, list(value.shape)]}
    if isinstance(value, list | tuple):
        items = [_described(item, arrays) for item in value]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, dict) and all(isinstance(key, str) and not key.startswith("__") for key in value):
        return {key: _described(item, arrays) for key, item in value.items()}
    raise TypeError(f"a {type(value).__name__} cannot leave the sandbox")


def _restored(value: Any, array: Callable[[Any, Any], np.ndarray]) -> Any:
    # In the order of the header, which is that of the bytes behind it.
    if isinstance(value, list):
        return [_restored(item, array) for item in value]
    if isinstance(value, dict):
        if _ARRAY in value:
            return array(*value[_ARRAY])
        if _TUPLE in value:
            return tuple(_restored(item, array) for item in value[_TUPLE])
        return {key: _restored(item, array) for key, item in value.items()}
    return value
