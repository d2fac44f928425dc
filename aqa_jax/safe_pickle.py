"""Read pickles without unpickling: an interpreter that knows plain data and numpy, and refuses the rest.

Nothing in the file is imported, looked up or called. The stream is tokenised by `pickletools.genops` (which
never allocates more than the file holds) and interpreted here; a global name is only a key into a table of our
own functions. What is not in the table is an `UnsafePickleError`.
"""

import io
import math
import os
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from aqa_jax.errors import DataError, UnsafePickleError, WeightsError

MAX_BYTES = 64 * 2**20
MAX_OPCODES = 5_000_000
# Larger integers only serve to burn time in hashing and printing.
MAX_INT_BYTES = 1024
MAX_KEY_ITEMS = 64

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU][0-9]{1,9})")


class PickleError(WeightsError, DataError):
    """A pickle is damaged, truncated, or not a pickle."""


class Refusal(Exception):
    """Raised by a function of the `allowed` table; becomes an UnsafePickleError that names the file."""


@dataclass(frozen=True)
class Global:
    """A name the file mentioned and the table knows; `call` is ours, never the file's."""

    name: str
    call: Callable[..., Any]


def load(
    source: str | os.PathLike[str] | bytes,
    *,
    allowed: Mapping[str, Callable[..., Any]] | None = None,
    max_bytes: int = MAX_BYTES,
    max_opcodes: int = MAX_OPCODES,
) -> Any:
    """Read one pickle (protocols 0 to 5) of plain containers, scalars and numpy arrays.

    Python 2's byte strings become `str` (latin-1). Arrays have plain numeric or string dtypes; an array's size
    must equal the bytes that the file holds for it, so memory is bounded by the file's size.

    Args:
      source: a path, or the pickle itself.
      allowed: "module.name" -> function called in its place; default `NUMPY`.
      max_bytes: largest file accepted.
      max_opcodes: most opcodes accepted (each makes at most one small object).

    Raises:
      UnsafePickleError: the pickle asks for a global, class or extension outside `allowed`.
      PickleError: the file is missing, too large, truncated, or not a pickle.
    """
    if isinstance(source, bytes):
        name, data = "pickle", source
    else:
        name = os.fspath(source)
        try:
            with open(name, "rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise PickleError(f"{name}: cannot be read ({error.strerror or error})") from error
    if len(data) > max_bytes:
        raise PickleError(f"{name}: larger than {max_bytes} bytes; pass max_bytes to accept it")
    return load_stream(io.BytesIO(data), name=name, allowed=allowed, max_opcodes=max_opcodes)


def load_stream(
    stream: BinaryIO,
    *,
    name: str,
    allowed: Mapping[str, Callable[..., Any]] | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
    max_opcodes: int = MAX_OPCODES,
) -> Any:
    """Read one pickle from a BytesIO or an mmap and leave the stream just behind its STOP.

    `persistent_load` answers persistent ids (how torch refers to its storages); without it they are refused.
    A plain file object will not do: its read() allocates whatever length the pickle claims.
    """
    machine = _Machine(NUMPY if allowed is None else allowed, persistent_load, max_opcodes)
    try:
        return machine.run(stream)
    except Refusal as refusal:
        raise UnsafePickleError(
            f"{name}: {refusal}. Nothing was executed and nothing was loaded. If the file comes from a source "
            "you trust, save its contents again as plain dicts, lists, numbers and numpy arrays (for weights: "
            "only the state_dict); otherwise delete it."
        ) from None
    except (WeightsError, DataError):
        raise
    except Exception as error:
        # A hostile stream can break any step above in any way; each is the same fault to the caller.
        raise PickleError(
            f"{name}: damaged, truncated, or not a pickle ({type(error).__name__}: {str(error)[:200]}); "
            "fetch the file again"
        ) from error


class _Machine:
    """The stack machine of PEP 307/3154/574, without the parts that reach outside."""

    def __init__(
        self,
        allowed: Mapping[str, Callable[..., Any]],
        persistent_load: Callable[[Any], Any] | None,
        max_opcodes: int,
    ) -> None:
        self.allowed = allowed
        self.persistent_load = persistent_load
        self.max_opcodes = max_opcodes
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO) -> Any:
        start = stream.tell()
        stream.seek(0, os.SEEK_END)
        self.budget = 2**20 + 4 * (stream.tell() - start)
        stream.seek(start)
        for count, (opcode, arg, _) in enumerate(pickletools.genops(stream)):
            if count >= self.max_opcodes:
                raise ValueError(f"more than {self.max_opcodes} opcodes")
            op = opcode.name
            if op in _PUSH_ARG:
                self.stack.append(_scalar(arg))
            elif op in _CONSTANTS:
                self.stack.append(_CONSTANTS[op]())
            else:
                getattr(self, "op_" + op.lower(), self.refuse_opcode)(arg)
        # genops ends only behind a STOP.
        if self.marks or len(self.stack) != 1:
            raise ValueError("STOP with a stack that is not one object")
        result = self.stack[0]
        if isinstance(result, Global):
            raise Refusal(f"the pickle is the bare name {result.name}, not data")
        return result

    # --- refusals

    def refuse_opcode(self, arg: Any) -> None:
        raise Refusal("the pickle uses extension codes, out-of-band buffers or an unknown opcode")

    def op_inst(self, arg: str) -> None:
        raise Refusal(f"the pickle asks for an instance of {_shown(arg.replace(' ', '.'))}")

    def op_obj(self, arg: None) -> None:
        raise Refusal(f"the pickle asks for an instance of {_shown(self.pop_mark()[0])}")

    def op_newobj_ex(self, arg: None) -> None:
        raise Refusal(f"the pickle asks for an instance of {_shown(self.stack[-3])}")

    # --- globals and calls

    def op_proto(self, arg: int) -> None:
        if arg > 5:
            raise ValueError(f"pickle protocol {arg} is not known")

    def op_frame(self, arg: int) -> None:
        pass

    def op_global(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self.push_global(module, name)

    def op_stack_global(self, arg: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise ValueError("STACK_GLOBAL without two strings")
        self.push_global(module, name)

    def push_global(self, module: str, name: str) -> None:
        # Dotted names would reach attributes of a harmless object; the table has none.
        full = f"{module}.{name}"
        if "." in name or full not in self.allowed:
            raise Refusal(f"the pickle asks for {_shown(full)}, which is not on the list of harmless types")
        self.stack.append(Global(full, self.allowed[full]))

    def op_reduce(self, arg: None) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global):
            raise Refusal(f"the pickle calls {_shown(function)}")
        if type(args) is not tuple:
            raise ValueError(f"{function.name} called without a tuple of arguments")
        result = function.call(*args)
        self.charge(result)
        self.stack.append(result)

    op_newobj = op_reduce

    def charge(self, result: Any) -> None:
        # One large memoised argument may be passed to many calls: what they copy is bounded by the file's size.
        if isinstance(result, (np.ndarray, np.generic)):
            self.budget -= result.nbytes
        elif isinstance(result, (bytes, bytearray, set, frozenset, dict)):
            self.budget -= len(result)
        if self.budget < 0:
            raise Refusal("the pickle builds far more data than it holds")

    def op_build(self, arg: None) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is np.ndarray:
            _set_array_state(target, state)
            self.charge(target)
        elif isinstance(target, np.dtype):
            _set_dtype_state(target, state)
        elif type(target) is OrderedDict and type(state) is dict:
            pass  # Attributes of a state dict (torch's _metadata) carry no tensors.
        else:
            raise Refusal(f"the pickle sets attributes of {_shown(target)}")

    def op_persid(self, arg: str) -> None:
        self.push_persistent(arg)

    def op_binpersid(self, arg: None) -> None:
        self.push_persistent(self.stack.pop())

    def push_persistent(self, pid: Any) -> None:
        if self.persistent_load is None:
            raise Refusal("the pickle refers to objects outside itself (persistent ids)")
        self.stack.append(self.persistent_load(pid))

    # --- stack and memo

    def op_mark(self, arg: None) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def op_pop(self, arg: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def op_pop_mark(self, arg: None) -> None:
        self.pop_mark()

    def op_dup(self, arg: None) -> None:
        self.stack.append(self.stack[-1])

    def op_put(self, arg: int) -> None:
        self.memo[arg] = self.stack[-1]

    op_binput = op_long_binput = op_put

    def op_memoize(self, arg: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_get(self, arg: int) -> None:
        self.stack.append(self.memo[arg])

    op_binget = op_long_binget = op_get

    def op_stop(self, arg: None) -> None:
        pass

    # --- containers

    def op_tuple(self, arg: None) -> None:
        items = self.pop_mark()
        self.stack.append(tuple(items))

    def op_tuple1(self, arg: None) -> None:
        self.take_tuple(1)

    def op_tuple2(self, arg: None) -> None:
        self.take_tuple(2)

    def op_tuple3(self, arg: None) -> None:
        self.take_tuple(3)

    def take_tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("stack too short")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def op_list(self, arg: None) -> None:
        items = self.pop_mark()
        self.stack.append(items)

    def op_append(self, arg: None) -> None:
        self.extend([self.stack.pop()])

    def op_appends(self, arg: None) -> None:
        self.extend(self.pop_mark())

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Refusal(f"the pickle appends to {_shown(target)}")
        target.extend(items)

    def op_dict(self, arg: None) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.update(items)

    def op_setitem(self, arg: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def op_setitems(self, arg: None) -> None:
        self.update(self.pop_mark())

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict):
            raise Refusal(f"the pickle sets items of {_shown(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def op_additems(self, arg: None) -> None:
        items, target = self.pop_mark(), self.stack[-1]
        if type(target) is not set:
            raise Refusal(f"the pickle adds items to {_shown(target)}")
        target.update(map(_key, items))

    def op_frozenset(self, arg: None) -> None:
        items = self.pop_mark()
        self.stack.append(frozenset(map(_key, items)))


_PUSH_ARG = frozenset(
    ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
    + ("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
    + ("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}


def _scalar(value: Any) -> Any:
    if type(value) is int and value.bit_length() > 8 * MAX_INT_BYTES:
        raise Refusal(f"the pickle holds an integer of more than {MAX_INT_BYTES} bytes")
    return value


def _key(value: Any) -> Any:
    """Keys are scalars or short flat tuples of them: to hash nested ones can take for ever, or the C stack."""
    parts = value if type(value) is tuple and len(value) <= MAX_KEY_ITEMS else (value,)
    for part in parts:
        if part is not None and not isinstance(part, (str, bytes, bool, int, float, complex, np.generic)):
            raise Refusal(f"the pickle uses {_shown(part)} as a key")
        if isinstance(part, int) and part.bit_length() > 64:
            raise Refusal("the pickle uses an integer of more than 64 bits as a key")
    return value


def _shown(thing: Any) -> str:
    if isinstance(thing, Global):
        return _shown(thing.name)
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
        raise Refusal(f"the pickle gives an array's bytes as {_shown(value)}")
    return value


def _check_size(shape: tuple[int, ...], dtype: Any, raw: bytes | bytearray) -> None:
    if not isinstance(dtype, np.dtype):
        raise Refusal(f"the pickle gives {_shown(dtype)} as a dtype")
    if math.prod(shape) * dtype.itemsize != len(raw) or (dtype.itemsize == 0 and math.prod(shape)):
        raise ValueError(f"an array of shape {shape} and dtype {dtype} with {len(raw)} bytes")


def _dtype(name: Any, align: Any = False, copy: Any = True) -> np.dtype:
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise Refusal(
            f"the pickle asks for the numpy dtype {_shown(name)}; only numbers and strings are read"
        )
    return np.dtype(name, align=False, copy=True)  # type: ignore[call-overload]


def _set_dtype_state(dtype: np.dtype, state: Any) -> None:
    if type(state) is not tuple or len(state) < 6 or state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
        raise Refusal("the pickle asks for a structured numpy dtype; only plain numbers and strings are read")
    # Only the byte order is taken from the file; in place, as others may already refer to this dtype.
    order = state[1] if dtype.byteorder != "|" else "|"
    fresh = np.dtype(dtype.str).newbyteorder(order)
    dtype.__setstate__(fresh.__reduce__()[2])


def _array(kind: Any, shape: Any, typecode: Any) -> np.ndarray:
    if not isinstance(kind, Global) or kind.name != "numpy.ndarray":
        raise Refusal(f"the pickle asks for an array of class {_shown(kind)}")
    return np.zeros(0, np.int8)


def _set_array_state(array: np.ndarray, state: Any) -> None:
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


def _encode(text: Any, encoding: Any) -> bytes:
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
    return set(map(_key, _items(items)))


def _frozenset(items: Any = ()) -> frozenset:
    return frozenset(map(_key, _items(items)))


def _ordered_dict(items: Any = ()) -> OrderedDict:
    return OrderedDict((_key(key), value) for key, value in _items(items))


def _items(items: Any) -> list | tuple:
    if type(items) not in (list, tuple):
        raise Refusal(f"the pickle builds a container from {_shown(items)}")
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
