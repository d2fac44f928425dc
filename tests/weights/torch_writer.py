"""Write files in torch's two formats without torch, right or wrong on purpose."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

KINDS = {
    "f4": "FloatStorage",
    "f8": "DoubleStorage",
    "f2": "HalfStorage",
    "i8": "LongStorage",
    "b1": "BoolStorage",
}


@dataclass(frozen=True)
class Name:
    """A global that the pickle mentions, importable or not."""

    module: str
    name: str

    def __call__(self):
        raise AssertionError("only for pickle's check that it is callable")


@dataclass(frozen=True)
class Reduced:
    function: Name
    args: tuple


@dataclass
class Storage:
    key: str
    kind: str
    numel: int
    raw: bytes
    window: tuple | None = None


@dataclass
class Tensor:
    storage: Storage
    offset: int
    shape: tuple
    strides: tuple
    rebuild: Name = field(default_factory=lambda: Name("torch._utils", "_rebuild_tensor_v2"))
    more: tuple = (False, None)


def tensor(key: str, array: np.ndarray) -> Tensor:
    kind = KINDS[array.dtype.str[1:]]
    strides = tuple(int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim))
    return Tensor(Storage(key, kind, array.size, array.tobytes()), 0, array.shape, strides)


def tensors(arrays: dict) -> dict:
    return {key: tensor(str(n), array) for n, (key, array) in enumerate(arrays.items())}


class _Pickler(pickle._Pickler):
    def __init__(self, file, legacy, python2=False):
        super().__init__(file, protocol=2)
        self.legacy, self.python2 = legacy, python2
        self.storages: dict[str, Storage] = {}

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif self.python2 and type(obj) is str:
            # SHORT_BINSTRING: Python 2's str.
            self.write(b"U" + bytes([len(obj)]) + obj.encode("latin-1"))
        elif self.python2 and type(obj) is int:
            # LONG1 for sizes, which were long.
            data = obj.to_bytes(obj.bit_length() // 8 + 1, "little", signed=True) if obj else b""
            self.write(b"\x8a" + bytes([len(data)]) + data)
        elif self.python2 and isinstance(obj, OrderedDict):
            items = [list(item) for item in obj.items()]
            self.save_reduce(Name("collections", "OrderedDict"), (items,), obj=obj)
        elif self.python2 and isinstance(obj, Tensor):
            size = Reduced(Name("torch", "Size"), (tuple(obj.shape),))
            self.save_reduce(Name("torch._utils", "_rebuild_tensor"), (obj.storage, obj.offset, size, obj.strides))
        elif isinstance(obj, Reduced):
            self.save_reduce(obj.function, obj.args)
        elif isinstance(obj, Tensor):
            self.save_reduce(obj.rebuild, (obj.storage, obj.offset, obj.shape, obj.strides, *obj.more))
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        self.storages[obj.key] = obj
        module, _, kind = f"torch.{obj.kind}".rpartition(".")
        pid = ("storage", Name(module, kind), obj.key, "cpu", obj.numel)
        return (*pid, obj.window) if self.legacy else pid


def _pickle(obj, legacy, python2=False):
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, legacy, python2)
    pickler.dump(obj)
    return buffer.getvalue(), pickler.storages


def write_zip(path, obj, *, root="archive", extra=None, compression=zipfile.ZIP_STORED, without=()):
    pickled, storages = _pickle(obj, legacy=False)
    members = {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n"}
    members |= {f"data/{key}": storage.raw for key, storage in storages.items()}
    members |= extra or {}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            if name not in without:
                archive.writestr(f"{root}/{name}", data)


def write_legacy(
    path,
    obj,
    *,
    magic=0x1950A86A20F9469CFC6C,
    protocol=1001,
    little_endian=True,
    keys=None,
    numel=None,
    python2=False,
):
    pickled, storages = _pickle(obj, legacy=True, python2=python2)
    head = [magic, protocol, {"protocol_version": protocol, "little_endian": little_endian, "type_sizes": {}}]
    data = b"".join(pickle.dumps(part, 2) for part in head) + pickled
    data += _pickle(list(storages) if keys is None else keys, legacy=True, python2=python2)[0]
    for storage in storages.values():
        data += struct.pack("<q", storage.numel if numel is None else numel) + storage.raw
    path.write_bytes(data)
