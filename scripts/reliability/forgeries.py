"""Weight files and pickles as somebody hostile would make them: names and bytes, from a generator of random numbers.

Nothing here runs what it names: opcodes are written by hand, and never by pickling an object that would do harm.
"""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

Files = dict[str, bytes]
GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
_NAMES = (
    "os system", "posix system", "nt system", "subprocess Popen", "subprocess check_output", "builtins eval",
    "builtins exec", "__builtin__ eval", "builtins open", "builtins getattr", "builtins __import__",
    "builtins print", "builtins bytearray", "builtins bytes", "builtins set", "builtins type", "builtins range",
    "importlib import_module", "runpy run_path", "shutil rmtree", "socket create_connection", "webbrowser open",
    "ctypes CDLL", "pickle loads", "marshal loads", "types CodeType", "types FunctionType", "functools partial",
    "operator attrgetter", "codecs decode", "_codecs encode", "collections OrderedDict", "collections deque",
    "collections defaultdict", "copyreg _reconstructor", "numpy ndarray", "numpy dtype", "numpy load",
    "numpy memmap", "numpy fromfile", "numpy core.multiarray", "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray _reconstruct", "numpy.core.multiarray scalar", "numpy._core.numeric _frombuffer",
    "numpy.testing._private.utils runstring", "numpy ndarray.tofile", "torch load", "torch.hub load",
    "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter", "torch Size", "torch device", "torch FloatStorage", "torch BFloat16Storage",
    "torch.storage UntypedStorage", "torch.storage _load_from_bytes", "torch.serialization load",
    "aqa_jax.files replacing", "aqa_jax.safe_pickle load", "a\x1b[2J b", "x" * 300 + " y",
)  # fmt: skip
_SIZES = (0, 1, 2, 255, 2**16, 2**31 - 1, 2**32 - 1, 2**35, 2**40, 2**62, 2**63 - 1, 2**64 - 1)


def _pick(rng: np.random.Generator, some: tuple) -> Any:
    return some[int(rng.integers(len(some)))]


def _size(rng: np.random.Generator) -> int:
    return int(_SIZES[int(rng.integers(len(_SIZES)))])


def _text(rng: np.random.Generator, data: bytes) -> bytes:
    """Pushes text."""
    return _pick(rng, (
        lambda: b"X" + struct.pack("<I", len(data)) + data,
        lambda: b"V" + data.replace(b"\n", b"") + b"\n",
        lambda: b"S'" + data.replace(b"\n", b"").replace(b"'", b"").replace(b"\\", b"") + b"'\n",
        lambda: b"\x8d" + struct.pack("<Q", len(data)) + data,
        lambda: b"\x8c" + bytes([len(data) % 256]) + data[: len(data) % 256],
    ))()  # fmt: skip


def _name(rng: np.random.Generator) -> bytes:
    """Pushes a global, of any protocol."""
    module, name = str(_pick(rng, _NAMES)).split(" ", 1)
    if rng.random() < 0.6:
        return f"c{module}\n{name}\n".encode()
    return _text(rng, module.encode()) + _text(rng, name.encode()) + b"\x93"


def _value(rng: np.random.Generator, depth: int = 0) -> bytes:
    """Pushes something: data, a name, a call, a container."""
    kind = int(rng.integers(16 if depth < 4 else 8))
    if kind == 0:
        return _pick(rng, (b"N", b"\x88", b"\x89", b"]", b"}", b")", b"\x8f", b"I1\n", b"F1.5\n", b"K\x07"))
    if kind == 1:
        return b"J" + struct.pack("<i", int(rng.integers(-(2**31), 2**31)))
    if kind == 2:
        return b"I%d\n" % _size(rng)
    if kind == 3:
        return _text(rng, rng.bytes(int(rng.integers(0, 20))).hex().encode())
    if kind == 4:
        raw = rng.bytes(int(rng.integers(0, 64)))
        return b"B" + struct.pack("<I", len(raw)) + raw
    if kind == 5:
        return _pick(rng, (b"h\x00", b"h\x01", b"j\x02\0\0\0", b"g0\n", b"2", b"q\x00", b"\x94"))
    if kind == 6:
        return _name(rng)
    if kind == 7:
        # A length that nothing holds.
        return _pick(rng, (b"T", b"B", b"X", b"\x8b")) + struct.pack("<I", _size(rng) % 2**32) + b"ab"
    inner = [_value(rng, depth + 1) for _ in range(int(rng.integers(0, 4)))]
    items = b"".join(inner)
    if kind in (8, 9, 10):
        return _name(rng) + b"(" + items + b"tR"
    if kind == 11:
        return _name(rng) + b"(" + items + b"t\x81"
    if kind == 12:
        return _name(rng) + b"(" + items + b"t}\x92"
    if kind == 13:
        return _value(rng, depth + 1) + _value(rng, depth + 1) + _pick(rng, (b"b", b"a", b"s0", b"Q", b"R"))
    if kind == 14:
        return b"(" + items + _pick(rng, (b"l", b"t", b"d", b"o", b"\x91", b"ios\nsystem\n"))
    return _pick(rng, (b"\x82\x01", b"\x83\x01\0", b"\x84\x01\0\0\0", b"\x97", b"\x98", b"Pid\n", b"\x80\xff"))


def stream(rng: np.random.Generator) -> bytes:
    """A pickle of any protocol that reduces, builds, instantiates, refers outside, or claims lengths."""
    protocol = int(rng.integers(6))
    head = b"" if protocol < 2 else b"\x80" + bytes([protocol])
    if protocol >= 4 and rng.random() < 0.5:
        head += b"\x95" + struct.pack("<Q", _size(rng))
    return head + b"".join(_value(rng) for _ in range(int(rng.integers(1, 4)))) + b"."


def plain(rng: np.random.Generator) -> bytes:
    """Harmless data as Python pickles it, with some bytes changed."""
    data = {
        ("a", 1): rng.random(3), "b": [1, 2.5, None, {"c": (1, 2)}], "d": np.arange(4, dtype=np.int16),
        "e": {frozenset({1}): b"x" * 20} if rng.random() < 0.5 else {1, 2},
    }  # fmt: skip
    return mutated(pickle.dumps(data, int(rng.integers(6))), rng)


def bomb(rng: np.random.Generator) -> bytes:
    """Small files that would grow large, or keep a processor busy, in a careless reader."""
    count = int(rng.integers(1, 3000))
    text = b"X" + struct.pack("<I", 20_000) + b"x" * 20_000 + b"q\0"
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: b"(" + text + b"c_codecs\nencode\n(h\0S'latin1'\ntR" * count + b"l.",
        lambda: b"(" + text + b"ctorch\ndevice\n(h\0K\1tR" * count + b"l.",
        lambda: b"(](" + b"".join(b"J" + struct.pack("<i", i) for i in range(2000)) + b"eq\0"
        + b"c__builtin__\nset\n(h\0tR" * count + b"l.",
        lambda: b"]q\0" + b"".join(b"]q%c(h%ch%ce" % (i, i - 1, i - 1) for i in range(1, 250)) + b".",
        lambda: b"(" * count * 10 + b"K\1" + b"t" * count * 10 + b".",
        lambda: b"}(" + b"".join(
            b"c__builtin__\ncomplex\n(G" + struct.pack(">d", -1000003.0 * i) + b"G" + struct.pack(">d", i) + b"tRN"
            for i in range(count)) + b"u.",
        lambda: b"c__builtin__\nbytearray\n(I%d\ntR." % _size(rng),
        lambda: b"\x8a\xff" + rng.bytes(255) + b".",
        lambda: b"\x8b" + struct.pack("<I", 2**20) + b"\xff" * 2**20 + b".",
        lambda: b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I%d\ntcnumpy\ndtype\n"
        b"(S'f8'\nI0\nI1\ntRI00\nS''\ntb." % _size(rng),
    )  # fmt: skip
    return kinds[int(rng.integers(len(kinds)))]()


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """With bits flipped, bytes replaced, a piece cut out, repeated, or filled with ones."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 8))):
        if not changed:
            break
        at, size = int(rng.integers(len(changed))), int(rng.integers(1, 32))
        kind = int(rng.integers(6))
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at] = int(rng.integers(256))
        elif kind == 2:
            del changed[at : at + size]
        elif kind == 3:
            changed[at:at] = changed[at : at + size]
        elif kind == 4:
            changed[at : at + 8] = struct.pack("<Q", _size(rng))[: len(changed[at : at + 8])]
        else:
            del changed[at:]
    return bytes(changed)


def any_pickle(rng: np.random.Generator) -> Files:
    """A bare pickle."""
    return {"a.pkl": _pick(rng, (stream, stream, plain, bomb))(rng)}


def torch_zip(rng: np.random.Generator) -> Files:
    """A zip file as torch writes it, around a hostile pickle or a forged tensor, or a real one damaged."""
    if rng.random() < 0.3:
        return {"a.pth": mutated((GOLDEN / "torch_files" / "nested_zip.pth").read_bytes(), rng)}
    buffer = io.BytesIO()
    roots = ("archive", "archive", "../../tmp/evil", "/tmp/evil", "a" * 300)
    with zipfile.ZipFile(buffer, "w") as archive:
        root = str(_pick(rng, roots))
        members = [("data.pkl", forged_tensors(rng) if rng.random() < 0.6 else stream(rng))]
        members += [("data/0", rng.bytes(int(rng.integers(0, 100)))), ("byteorder", b"little")]
        members += [("../../evil.py", b"raise SystemExit"), ("version", b"3\n")] * (rng.random() < 0.3)
        for name, content in members:
            compressed = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
            archive.writestr(f"{root}/{name}", content, compressed)
    return {"a.pth": buffer.getvalue() if rng.random() < 0.7 else mutated(buffer.getvalue(), rng)}


def forged_tensors(rng: np.random.Generator) -> bytes:
    """A state dict whose tensors lie about their storages."""

    def number() -> bytes:
        return b"I%d\n" % (_size(rng) if rng.random() < 0.5 else int(rng.integers(0, 30)))

    def numbers() -> bytes:
        return b"(" + b"".join(number() for _ in range(int(rng.integers(0, 4)))) + b"t"

    parts = []
    for i in range(int(rng.integers(1, 5))):
        kind = _pick(rng, (b"Float", b"Double", b"Half", b"BFloat16", b"Bool", b"Long", b"Untyped"))
        pid = b"(S'storage'\nctorch\n%bStorage\nS'%d'\nS'cpu'\n" % (kind, int(rng.integers(2))) + number() + b"tQ"
        tail = b"I00\nN" if rng.random() < 0.8 else b"I00\nNctorch\nuint16\n"
        rebuild = _pick(rng, (b"_rebuild_tensor_v2", b"_rebuild_tensor", b"_rebuild_tensor_v3"))
        call = b"ctorch._utils\n%b\n(" % rebuild + pid + number() + numbers() + numbers() + tail + b"tR"
        parts.append(b"S'k%d'\n" % i + call)
    return b"\x80\x02}(" + b"".join(parts) + b"u."


def torch_legacy(rng: np.random.Generator) -> Files:
    """Torch's older files: their head, then a hostile pickle, or a real one damaged."""
    data = (GOLDEN / "torch_files" / "nested_legacy.pth").read_bytes()
    if rng.random() < 0.5:
        return {"a.pth": mutated(data, rng)}
    head = b"".join(
        pickle.dumps(part, 2)
        for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    )
    body = forged_tensors(rng) if rng.random() < 0.6 else stream(rng)
    keys = pickle.dumps([str(i) for i in range(int(rng.integers(3)))], 2)
    return {"a.pth": head + body + keys + struct.pack("<q", _size(rng) % 2**63) + rng.bytes(40)}


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    return _varint(number << 3) + _varint(value)


def tensorflow(rng: np.random.Generator) -> Files:
    """A TensorFlow checkpoint with true checksums and false content, or a real one damaged."""
    from aqa_jax.weights.crc32c import crc32c, masked
    from aqa_jax.weights.sniff import TABLE_MAGIC

    names = "m.index", "m.data-00000-of-00001"
    if rng.random() < 0.4:
        index, data = ((GOLDEN / "tf_checkpoint" / f"model.ckpt{name[1:]}").read_bytes() for name in names)
        return {names[0]: mutated(index, rng), names[1]: data if rng.random() < 0.7 else mutated(data, rng)}

    def block(items: list[tuple[int, bytes, bytes]]) -> bytes:
        body = b"".join(_varint(s) + _varint(len(k)) + _varint(len(v)) + k + v for s, k, v in items)
        body += struct.pack("<II", 0, 1 if rng.random() < 0.9 else _size(rng) % 2**32) + b"\0"
        return body + struct.pack("<I", masked(crc32c(body)))

    raw = rng.bytes(32)

    def entry() -> bytes:
        dims = b"".join(_field(2, _field(1, int(rng.integers(0, 5)))) for _ in range(int(rng.integers(0, 4))))
        if rng.random() < 0.3:
            dims += _field(2, _field(1, _size(rng)))
        size = int(rng.integers(0, 33)) if rng.random() < 0.7 else _size(rng)
        fields = _field(1, int(rng.integers(0, 25))) + _field(2, dims) + _field(5, size)
        fields += _field(4, _size(rng)) if rng.random() < 0.3 else b""
        crc = masked(crc32c(raw[:size])) if size <= 32 else 0
        return fields + _varint(6 << 3 | 5) + struct.pack("<I", crc) + (rng.bytes(5) if rng.random() < 0.1 else b"")

    header = _field(1, 1 if rng.random() < 0.8 else _size(rng) % 2**20) + _field(3, b"\x08\x01")
    items = [(0, b"", header)]
    if rng.random() < 0.2:
        # Each key holds the one before.
        one = entry()
        items += [(i, b"k", one) for i in range(int(rng.integers(1, 2000)))]
    else:
        items += [(0, b"k%d" % i, entry()) for i in range(int(rng.integers(0, 6)))]
    data_block = block(items)
    handle = _varint(0 if rng.random() < 0.9 else _size(rng)) + _varint(len(data_block) - 5)
    index_block = block([(0, b"x", handle)] * (1 if rng.random() < 0.8 else 200))
    footer = _varint(0) + _varint(0) + _varint(len(data_block)) + _varint(len(index_block) - 5)
    return {names[0]: data_block + index_block + footer.ljust(40, b"\0") + TABLE_MAGIC, names[1]: raw}


def safetensors_file(rng: np.random.Generator) -> Files:
    """A safetensors file whose header lies, or is no header."""
    if rng.random() < 0.4:
        arrays = {f"k{i}": rng.random(int(rng.integers(0, 9)), np.float32) for i in range(int(rng.integers(1, 5)))}
        return {"a.safetensors": mutated(safetensors.numpy.save(arrays), rng)}
    kinds = ("F32", "F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "X", 7)

    def number() -> int:
        return _size(rng) if rng.random() < 0.3 else int(rng.integers(0, 65))

    header: object = {
        f"k{i}" if rng.random() < 0.9 else "\x1b[2J\u202e": {
            "dtype": _pick(rng, kinds), "shape": [number() for _ in range(int(rng.integers(0, 3)))],
            "data_offsets": [number(), number()] if rng.random() < 0.7 else [0, 16],
        }
        for i in range(int(rng.integers(0, 4)))
    } | ({"__metadata__": {"schema": "aqa_jax.adapter/1"}} if rng.random() < 0.3 else {})  # fmt: skip
    if rng.random() < 0.1:
        header = [header]
    text = b"[" * 5000 if rng.random() < 0.05 else json.dumps(header).encode()
    size = len(text) if rng.random() < 0.8 else _size(rng)
    data = struct.pack("<Q", size) + text + rng.bytes(int(rng.integers(0, 65)))
    return {"a.safetensors": data if rng.random() < 0.6 else mutated(data, rng)}


def adapter(rng: np.random.Generator) -> Files:
    """An adapter file whose metadata is forged."""
    values = (
        "",
        "{",
        "[]",
        "null",
        "7",
        "NaN",
        "1e999",
        "[" * 5000,
        '{"kind": "3d"}',
        '{"kind": []}',
        '"3d"',
        "-1",
        "{}",
    )
    keys = ("adapter", "dialect", "width", "backbone", "content", "provenance", "training_groups")
    settings = '{"kind": "3d", "blocks": 7, "ratio": [], "depthwise": {}}'
    metadata = {key: str(_pick(rng, values)) for key in keys if rng.random() < 0.9} | {"schema": "aqa_jax.adapter/1"}
    if rng.random() < 0.5:
        metadata |= {"adapter": settings, "width": "0.5", "provenance": "{}", "training_groups": "[]"}
    text = json.dumps({"__metadata__": metadata, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    data = struct.pack("<Q", len(text)) + text + rng.bytes(8)
    return {"a.safetensors": data if rng.random() < 0.7 else mutated(data, rng)}


def mat(rng: np.random.Generator) -> Files:
    """MATLAB's files, of version 5, 7.3 or 4."""
    head = b"MATLAB %b MAT-file, Platform: GLNXA64" % _pick(rng, (b"5.0", b"7.3"))
    body = {
        0: head.ljust(124) + b"\0\1IM" + struct.pack("<II", 14, _size(rng) % 2**32) + rng.bytes(100),
        1: head.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" + rng.bytes(100),
        2: struct.pack("<IIIII", 0, *(_size(rng) % 2**32 for _ in range(3)), 2) + b"x\0" + rng.bytes(64),
    }[int(rng.integers(3))]
    return {"a.mat": body}


FORGERIES: dict[str, Callable[[np.random.Generator], Files]] = {
    "pickle": any_pickle, "torch zip": torch_zip, "torch legacy": torch_legacy, "tensorflow": tensorflow,
    "safetensors": safetensors_file, "adapter": adapter, "mat": mat,
}  # fmt: skip
