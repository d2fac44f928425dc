"""Read pickles without unpickling: an interpreter that knows plain data and numpy, and refuses the rest.

Nothing in the file is imported, looked up or called. The stream is tokenised by `pickletools.genops` (which
never allocates more than the file holds) and interpreted here; a global name is only a key into a table of
our own functions (pickle_names.py). What is not in the table is an `UnsafePickleError`.
"""

import io
import mmap
import os
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from aqa_jax.errors import DataError, UnsafePickleError, WeightsError
from aqa_jax.pickle_names import NUMPY, Global, Refusal, check_key, set_array_state, set_dtype_state, shown

MAX_BYTES = 64 * 2**20
MAX_OPCODES = 2_000_000
# What an entry of a container takes, at least.
_ENTRY_BYTES = 64
# Larger integers only serve to burn time in hashing and printing.
MAX_INT_BYTES = 1024


class PickleError(WeightsError, DataError):
    """A pickle is damaged, truncated, or not a pickle."""


def load(
    source: str | os.PathLike[str] | bytes,
    *,
    allowed: Mapping[str, Callable[..., Any]] | None = None,
    max_bytes: int = MAX_BYTES,
    max_opcodes: int = MAX_OPCODES,
) -> Any:
    """Read one pickle (protocols 0 to 5) of plain containers, scalars and numpy arrays.

    Python 2's byte strings become `str` (latin-1; in protocol 0 ASCII). Arrays have plain numeric or string
    dtypes; an array holds exactly the bytes that the file has for it, so memory grows with the file at most.

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
                # What is asked for is allocated, whatever there is.
                data = file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
        except OSError as error:
            raise PickleError(f"{name}: cannot be read ({error.strerror or error})") from error
    if len(data) > max_bytes:
        raise PickleError(f"{name}: larger than {max_bytes} bytes; pass max_bytes to accept it")
    return load_stream(io.BytesIO(data), name=name, allowed=allowed, max_opcodes=max_opcodes)


def load_stream(
    stream: BinaryIO | mmap.mmap,
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
            f"{name}: {refusal}. Nothing was executed and nothing was loaded. If the file comes from a "
            "source you trust, save its contents again as plain dicts, lists, numbers and numpy arrays (for "
            "weights: only the state_dict); otherwise delete it."
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

    def run(self, stream: BinaryIO | mmap.mmap) -> Any:
        start = stream.tell()
        stream.seek(0, os.SEEK_END)
        self.budget = 2**20 + 4 * (stream.tell() - start)
        stream.seek(start)
        # genops reads from an mmap as from any stream; its stub does not list one.
        for count, (opcode, arg, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
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
        raise Refusal(f"the pickle asks for an instance of {shown(arg.replace(' ', '.'))}")

    def op_obj(self, arg: None) -> None:
        raise Refusal(f"the pickle asks for an instance of {shown(self.pop_mark()[0])}")

    def op_newobj_ex(self, arg: None) -> None:
        raise Refusal(f"the pickle asks for an instance of {shown(self.stack[-3])}")

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
            raise Refusal(f"the pickle asks for {shown(full)}, which is not on the list of harmless types")
        self.stack.append(Global(full, self.allowed[full]))

    def op_reduce(self, arg: None) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global):
            raise Refusal(f"the pickle calls {shown(function)}")
        if type(args) is not tuple:
            raise ValueError(f"{function.name} called without a tuple of arguments")
        result = function.call(*args)
        self.charge(result)
        self.stack.append(result)

    op_newobj = op_reduce

    def charge(self, result: Any) -> None:
        # One large memoised argument may go to many calls: what they copy is bounded by the file's size.
        if isinstance(result, (np.ndarray, np.generic)):
            self.budget -= result.nbytes
        elif isinstance(result, (str, bytes, bytearray)):
            self.budget -= len(result)
        elif isinstance(result, (set, frozenset, dict)):
            self.budget -= _ENTRY_BYTES * len(result)
        if self.budget < 0:
            raise Refusal("the pickle builds far more data than it holds")

    def op_build(self, arg: None) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is np.ndarray:
            set_array_state(target, state)
            self.charge(target)
        elif isinstance(target, np.dtype):
            set_dtype_state(target, state)
        elif type(target) is OrderedDict and type(state) is dict:
            pass  # Attributes of a state dict (torch's _metadata) carry no tensors.
        else:
            raise Refusal(f"the pickle sets attributes of {shown(target)}")

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
            raise Refusal(f"the pickle appends to {shown(target)}")
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
            raise Refusal(f"the pickle sets items of {shown(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    def op_additems(self, arg: None) -> None:
        items, target = self.pop_mark(), self.stack[-1]
        if type(target) is not set:
            raise Refusal(f"the pickle adds items to {shown(target)}")
        target.update(map(check_key, items))

    def op_frozenset(self, arg: None) -> None:
        items = self.pop_mark()
        self.stack.append(frozenset(map(check_key, items)))


_PUSH_ARG = frozenset(
    opcode.name
    for opcode in pickletools.opcodes
    if opcode.arg is not None and opcode.stack_after and opcode.stack_after[0] is not pickletools.anyobject
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
