"""Read what torch.save wrote, in both of its formats, without torch and without unpickling.

Zip (torch 1.6 and later): `<root>/data.pkl` with one stored member `<root>/data/<key>` per storage. Legacy:
stacked pickles (magic number, protocol, system, the object, storage keys), then the raw storages in turn. All
pickles go through safe_pickle with a table of the few names a state dict needs.
"""

import io
import math
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aqa_jax import safe_pickle
from aqa_jax.errors import WeightsError
from aqa_jax.pickle_names import NUMPY, Global, Refusal, shown
from aqa_jax.weights.bfloat16 import widened
from aqa_jax.weights.sniff import check_size, sniff

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_PICKLE_BYTES = 64 * 2**20
MAX_NODES = 200_000
MAX_DEPTH = 64
MAX_PATH = 2000
# What zipfile raises on damaged archives, beside its own error.
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    ArithmeticError,
)

# bfloat16 has no numpy type: read as its 16 bits, widened to float32 (exact).
_BFLOAT16 = "bfloat16"
_STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "BoolStorage": "|b1",
    "ByteStorage": "|u1",
    "CharStorage": "|i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
}
_TENSOR_DTYPES = {"uint16": "<u2", "uint32": "<u4", "uint64": "<u8"}


@dataclass(frozen=True)
class _Storage:
    """A run of `size` elements at element `start` of the file's storage `key`."""

    dtype: str
    key: str
    total: int
    start: int
    size: int

    @property
    def bytes_per_element(self) -> int:
        return 2 if self.dtype == _BFLOAT16 else np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read every tensor and number of a file that torch.save wrote.

    Returns:
      The leaves by their path, dictionary keys and list positions joined with "/", equal to the bit to what
      torch would load (bfloat16 widened to float32). Strings and None are left out.

    Raises:
      UnsafePickleError: the file asks for a class or function that a state dict does not need.
      WeightsError: the file is not torch's, big-endian, truncated, or its tensors do not fit their storages.
    """
    name = os.fspath(path)
    try:
        check_size(path)
        kind = sniff(path)
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                return _read_zip(name, archive, os.path.getsize(path))
        if kind == "torch legacy":
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read_legacy(name, data)
    except _ZIP_FAULTS as error:
        raise WeightsError(
            f"{name}: a damaged or truncated zip file ({str(error) or type(error).__name__}); fetch it again"
        ) from error
    except OSError as error:
        raise WeightsError(f"{name}: cannot be read ({error.strerror or error})") from error
    raise WeightsError(f"{name}: not a file written by torch.save; it {kind}")


# --- the two formats


def _read_zip(name: str, archive: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
    members = {info.filename: info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise WeightsError(f"{name}: a zip file that holds the same member twice")
    roots = [member.removesuffix("data.pkl") for member in members if member.rpartition("/")[2] == "data.pkl"]
    if len(roots) != 1:
        raise WeightsError(f"{name}: a zip file, but not one of torch's (no single data.pkl inside); {_HINT}")
    root = roots[0]
    if root + "constants.pkl" in members:
        raise WeightsError(f"{name}: a TorchScript archive (a program, not a state dict); {_HINT}")

    def member(suffix: str) -> bytes:
        info = members.get(root + suffix)
        if info is None:
            raise WeightsError(f"{name}: the zip member {root + suffix} is missing; fetch the file again")
        # Both sizes: what the archive calls compressed is asked of the file at once, and allocated.
        stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size <= size
        if not stored or info.flag_bits & 1:
            raise WeightsError(f"{name}: the zip member {info.filename} is compressed, encrypted or oversized")
        return archive.read(info)

    if root + "byteorder" in members and member("byteorder").strip() != b"little":
        raise WeightsError(f"{name}: written on a big-endian machine; {_HINT}")
    pickled = member("data.pkl")
    if len(pickled) > MAX_PICKLE_BYTES:
        raise WeightsError(f"{name}: data.pkl is larger than {MAX_PICKLE_BYTES} bytes")
    tree = safe_pickle.load_stream(
        io.BytesIO(pickled), name=name, allowed=TORCH, persistent_load=lambda pid: _storage(pid, legacy=False)
    )
    return _flatten(name, tree, lambda storage: member(f"data/{storage.key}"), size)


def _read_legacy(name: str, data: mmap.mmap) -> dict[str, np.ndarray]:
    declared: dict[str, _Storage] = {}

    def persistent_load(pid: Any) -> _Storage:
        storage = _storage(pid, legacy=True)
        first = declared.setdefault(storage.key, storage)
        if (first.dtype, first.total) != (storage.dtype, storage.total):
            raise WeightsError(f"{name}: storage {shown(storage.key)} is declared twice with different sizes")
        return storage

    def load(**options: Any) -> Any:
        return safe_pickle.load_stream(data, name=name, allowed=TORCH, **options)

    magic, protocol, system = load(), load(), load()
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL:
        raise WeightsError(f"{name}: the magic number or the protocol is not torch's; fetch the file again")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise WeightsError(f"{name}: written on a big-endian machine; {_HINT}")
    tree = load(persistent_load=persistent_load)
    keys = load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(declared):
        raise WeightsError(f"{name}: the list of storages does not match the tensors; fetch the file again")
    found: dict[str, tuple[int, int]] = {}
    for key in keys:
        count = int.from_bytes(data.read(8), "little")
        size = count * declared[key].bytes_per_element
        if count != declared[key].total or data.tell() + size > len(data):
            raise WeightsError(f"{name}: storage {shown(key)} is cut short or of another size; fetch the file again")
        found[key] = (data.tell(), size)
        data.seek(size, os.SEEK_CUR)

    def raw(storage: _Storage) -> bytes:
        start, size = found[storage.key]
        return data[start : start + size]

    return _flatten(name, tree, raw, len(data))


_HINT = "save it again with torch.save(model.state_dict(), ...) and import that"


# --- the tree


def _flatten(name: str, tree: Any, raw: Callable[[_Storage], bytes], file_size: int) -> dict[str, np.ndarray]:
    leaves: dict[str, np.ndarray] = {}
    cache: dict[str, bytes] = {}
    # Expanded tensors (stride 0) may be larger than their storage, but a file does not justify terabytes.
    budget = 2**20 + 4 * file_size
    nodes = 0

    def fail(path: str, what: str) -> WeightsError:
        return WeightsError(f"{name}: {shown(path) or 'the object'}: {what}; fetch the file again")

    def visit(node: Any, path: str, depth: int) -> None:
        nonlocal budget, nodes
        nodes += 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise fail(path, f"nested deeper than {MAX_DEPTH} levels or of more than {MAX_NODES} parts")
        # A name may be a reference to megabytes, and every leaf below it would have a copy.
        if len(path) > MAX_PATH:
            raise fail(path, f"a name of more than {MAX_PATH} characters")
        leaf: np.ndarray
        if isinstance(node, dict):
            for key, child in node.items():
                visit(child, f"{path}/{key}" if path else str(key), depth + 1)
            return
        if isinstance(node, (list, tuple)):
            for position, child in enumerate(node):
                visit(child, f"{path}/{position}" if path else str(position), depth + 1)
            return
        if isinstance(node, _Tensor):
            storage = node.storage
            if storage.key not in cache:
                cache[storage.key] = raw(storage)
                budget -= len(cache[storage.key])
            budget -= math.prod([*node.shape]) * storage.bytes_per_element
            if budget < 0:
                raise fail(path, "larger than the file justifies")
            try:
                leaf = _materialise(node, cache[storage.key])
            except ValueError as error:
                raise fail(path, str(error)) from error
        elif isinstance(node, (np.ndarray, np.generic, bool, int, float, complex)):
            leaf = np.asarray(node)
            if leaf.dtype.kind not in "biufc":
                return
        elif node is None or isinstance(node, (str, bytes, set, frozenset)):
            return
        else:
            raise fail(path, f"neither a tensor nor a number ({shown(node)})")
        if path in leaves:
            raise fail(path, "two entries of this name")
        leaves[path] = leaf

    visit(tree, "", 0)
    return leaves


def _materialise(tensor: _Tensor, raw: bytes) -> np.ndarray:
    storage = tensor.storage
    bfloat16 = storage.dtype == _BFLOAT16
    dtype = np.dtype("<u2" if bfloat16 else "|u1" if storage.dtype == "|b1" else storage.dtype)
    if len(raw) != storage.total * dtype.itemsize:
        raise ValueError(f"a storage of {len(raw)} bytes where {storage.total} x {dtype} was announced")
    if 0 in tensor.shape:
        view = np.zeros(tensor.shape, dtype)
    else:
        last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
        if last >= storage.size:
            raise ValueError(f"element {last} of a storage of {storage.size}")
        flat = np.frombuffer(raw, dtype)[storage.start + tensor.offset :]
        # Steps along an axis of one element are never taken and may be anything.
        strides = tuple(s * dtype.itemsize * (n > 1) for n, s in zip(tensor.shape, tensor.strides, strict=True))
        view = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
    if bfloat16:
        return widened(view)
    return view != 0 if storage.dtype == "|b1" else view.copy(order="C")


# --- the names a state dict mentions


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) > 32:
        raise Refusal("a tensor's sizes or strides are not a tuple")
    if not all(type(n) is int and 0 <= n < 2**63 for n in value):
        raise Refusal("a tensor's sizes or strides are not whole numbers")
    return tuple(value)


def _storage(pid: Any, legacy: bool) -> _Storage:
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        raise Refusal("the file refers to something other than a storage (a whole module?)")
    kind, key, total = pid[1], pid[2], pid[4]
    if not isinstance(kind, Global) or not isinstance(key, str) or type(total) is not int or total < 0:
        raise Refusal("a storage is described wrongly")
    dtype = _STORAGE_DTYPES.get(kind.name.rpartition(".")[2], "|u1")
    if not legacy or len(pid) == 5 or pid[5] is None:
        return _Storage(dtype, key, total, 0, total)
    # Files of torch 0.x may name a window of a larger storage.
    _, start, size = pid[5]
    if not (type(start) is int and type(size) is int and 0 <= start <= start + size <= total):
        raise Refusal("a storage's window lies outside it")
    return _Storage(dtype, key, total, start, size)


def _device(kind: Any, index: Any = 0) -> str:
    if not isinstance(kind, str) or type(index) is not int:
        raise Refusal("a device is described wrongly")
    return f"{kind}:{index}"


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *unused: Any) -> _Tensor:
    shape, strides = _sizes(size), _sizes(stride)
    if not isinstance(storage, _Storage) or type(offset) is not int or offset < 0 or len(shape) != len(strides):
        raise Refusal("a tensor is described wrongly")
    return _Tensor(storage, offset, shape, strides)


def _tensor_of_bytes(storage: Any, offset: Any, size: Any, stride: Any, *more: Any) -> _Tensor:
    dtype = _TENSOR_DTYPES.get(more[2].name.removeprefix("torch.")) if isinstance(more[2], Global) else None
    if dtype is None or not isinstance(storage, _Storage) or storage.total % np.dtype(dtype).itemsize:
        raise Refusal("a tensor has a type that is not read (quantised, float8, ...)")
    count = storage.total // np.dtype(dtype).itemsize
    return _tensor(_Storage(dtype, storage.key, count, 0, count), offset, size, stride)


def _parameter(data: Any, *unused: Any) -> _Tensor:
    if not isinstance(data, _Tensor):
        raise Refusal("a parameter without a tensor")
    return data


def _named_only(*unused: Any) -> Any:
    raise Refusal("the file calls a type that may only be named")


TORCH: Mapping[str, Callable[..., Any]] = {
    **NUMPY,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_bytes,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _sizes,
    "torch.device": _device,
    "torch.storage.UntypedStorage": _named_only,
    **{f"torch.{dtype}": _named_only for dtype in _TENSOR_DTYPES},
    **{f"torch.{where}{kind}": _named_only for where in ("", "cuda.") for kind in _STORAGE_DTYPES},
}
