"""The names a pickle may mention, each with the function of ours that stands in for it.

Every function here checks its arguments as hostile: none allocates more than its arguments hold.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_KEY_ITEMS = 8
_NUMPY_KEYS = (np.integer, np.float64, np.float32, np.float16, np.bool_, np.str_, np.bytes_)

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU][0-9]{1,9})")


class Refusal(Exception):
    """Raised by a function of the `allowed` table; becomes an UnsafePickleError that names the file."""


@dataclass(frozen=True)
class Global:
    """A name the file mentioned and the table knows; `call` is ours, never the file's."""

    name: str
    call: Callable[..., Any]


def check_key(value: Any) -> Any:
    """Return `value` if it is a scalar or a short flat tuple of text, truth values and small integers.

    Hashing a nested tuple can take for ever (shared parts) or overflow the C stack (deep ones). Complex numbers and
    tuples of large numbers can be chosen to share one hash, and a dictionary of them takes time by the square.

    Raises:
      Refusal: for anything else.
    """
    if type(value) is tuple and len(value) <= MAX_KEY_ITEMS:
        for part in value:
            if isinstance(part, (int, np.integer)) and not -(2**31) <= part < 2**31:
                raise Refusal("the pickle uses a tuple of large integers as a key")
            if part is not None and not isinstance(part, (str, bytes, int, np.integer, np.str_)):
                raise Refusal(f"the pickle uses a tuple with {shown(part)} as a key")
        return value
    if value is not None and not isinstance(value, (str, bytes, int, float, *_NUMPY_KEYS)):
        raise Refusal(f"the pickle uses {shown(value)} as a key")
    if isinstance(value, int) and value.bit_length() > 64:
        raise Refusal("the pickle uses an integer of more than 64 bits as a key")
    return value


def shown(thing: Any) -> str:
    """Name a thing in an error: a global by its name, other objects by their type."""
    if isinstance(thing, Global):
        return shown(thing.name)
    if isinstance(thing, str):
        return repr(thing[:100])[1:-1]
    return f"a {type(thing).__name__}"


# --- numpy and builtins, rebuilt by hand


def _shape(value: Any) -> tuple[int, ...]:
    if type(value) is not tuple or len(value) > 32 or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError("an array's shape is not a tuple of sizes")
    return value


def _raw(value: Any) -> bytes | bytearray:
    if isinstance(value, str):  # Python 2's byte string
        return value.encode("latin-1")
    if not isinstance(value, (bytes, bytearray)):
        raise Refusal(f"the pickle gives an array's bytes as {shown(value)}")
    return value


def _check_size(shape: tuple[int, ...], dtype: Any, raw: bytes | bytearray) -> None:
    if not isinstance(dtype, np.dtype):
        raise Refusal(f"the pickle gives {shown(dtype)} as a dtype")
    count = math.prod([*shape])
    if count * dtype.itemsize != len(raw) or (dtype.itemsize == 0 and count):
        raise ValueError(f"an array of shape {shape} and dtype {dtype} with {len(raw)} bytes")


def _dtype(name: Any, align: Any = False, copy: Any = True) -> np.dtype:
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise Refusal(f"the pickle asks for the numpy dtype {shown(name)}; only numbers and strings are read")
    return np.dtype(name, align=False, copy=True)


def set_dtype_state(dtype: np.dtype, state: Any) -> None:
    """Apply the byte order of a pickled dtype state; refuse structured dtypes."""
    if type(state) is not tuple or len(state) < 6 or state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
        raise Refusal("the pickle asks for a structured numpy dtype; only plain numbers and strings are read")
    # Only the byte order is taken from the file; in place, as others may already refer to this dtype.
    # numpy's stubs know no __setstate__ of a dtype.
    fresh = np.dtype(dtype.str).newbyteorder(state[1])
    dtype.__setstate__(fresh.__reduce__()[2])  # type: ignore[attr-defined]


def _array(kind: Any, shape: Any, typecode: Any) -> np.ndarray:
    if not isinstance(kind, Global) or kind.name != "numpy.ndarray":
        raise Refusal(f"the pickle asks for an array of class {shown(kind)}")
    return np.zeros(0, np.int8)


def set_array_state(array: np.ndarray, state: Any) -> None:
    """Fill an array in place from (version, shape, dtype, order, bytes) of matching sizes."""
    if type(state) is not tuple or len(state) != 5:
        raise ValueError("an array's state is not (version, shape, dtype, order, bytes)")
    _, shape, dtype, fortran, raw = state
    shape, raw = _shape(shape), bytes(_raw(raw))
    _check_size(shape, dtype, raw)
    array.__setstate__((1, shape, dtype, bool(fortran), raw))  # type: ignore[arg-type]


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    shape, raw = _shape(shape), _raw(raw)
    _check_size(shape, dtype, raw)
    if order not in ("C", "F"):
        raise ValueError("an array's order is neither C nor F")
    flat = np.frombuffer(raw, dtype) if raw else np.zeros(0, dtype)
    return flat.reshape(shape, order=order)


def _numpy_scalar(dtype: Any, raw: Any) -> np.generic:
    raw = _raw(raw)
    _check_size((), dtype, raw)
    return np.frombuffer(raw, dtype)[0]


def _encode(text: Any, encoding: Any = None) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refusal("the pickle encodes something other than text as latin-1")
    return text.encode("latin-1")


def _bytes(*args: Any) -> bytes:
    return _encode(*args) if args else b""


def _bytearray(*args: Any) -> bytearray:
    # bytearray(10**12) would allocate: only real bytes are taken.
    if len(args) == 1 and isinstance(args[0], (bytes, bytearray)):
        return bytearray(args[0])
    return bytearray(_bytes(*args))


def _complex(real: Any, imaginary: Any) -> complex:
    if not (isinstance(real, float) and isinstance(imaginary, float)):
        raise ValueError("a complex number of parts that are not floats")
    return complex(real, imaginary)


def _set(items: Any = ()) -> set:
    return set(map(check_key, _items(items)))


def _frozenset(items: Any = ()) -> frozenset:
    return frozenset(map(check_key, _items(items)))


def _ordered_dict(items: Any = ()) -> OrderedDict:
    return OrderedDict((check_key(key), value) for key, value in _items(items))


def _items(items: Any) -> list | tuple:
    if type(items) not in (list, tuple):
        raise Refusal(f"the pickle builds a container from {shown(items)}")
    return items


def _not_callable(*args: Any) -> Any:
    raise Refusal("the pickle calls a type that may only be named")


_BUILTINS: dict[str, Callable[..., Any]] = {
    "bytes": _bytes,
    "bytearray": _bytearray,
    "complex": _complex,
    "set": _set,
    "frozenset": _frozenset,
}
_NUMPY_CORE: dict[str, Callable[..., Any]] = {
    "multiarray._reconstruct": _array,
    "multiarray.scalar": _numpy_scalar,
    "numeric._frombuffer": _from_buffer,
}
NUMPY: Mapping[str, Callable[..., Any]] = {
    "_codecs.encode": _encode,
    "collections.OrderedDict": _ordered_dict,
    "numpy.ndarray": _not_callable,
    "numpy.dtype": _dtype,
    **{f"{module}.{name}": f for module in ("builtins", "__builtin__") for name, f in _BUILTINS.items()},
    **{f"numpy.{core}.{name}": f for core in ("core", "_core") for name, f in _NUMPY_CORE.items()},
}
