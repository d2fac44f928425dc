"""Read TensorFlow's checkpoint format (tensor bundle) without TensorFlow.

`<prefix>.index` is a LevelDB table: variable name -> BundleEntryProto (dtype, shape, shard, offset, size,
CRC), and "" -> BundleHeaderProto. `<prefix>.data-00000-of-00001` holds the raw tensors. Every block and every
tensor carries a masked CRC-32C, and every one is checked.
"""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aqa_jax.errors import WeightsError
from aqa_jax.weights.bfloat16 import widened
from aqa_jax.weights.crc32c import crc32c, masked
from aqa_jax.weights.sniff import TABLE_MAGIC, check_size

MAX_INDEX_BYTES = 16 * 2**20
MAX_VARIABLES = 65_536
# Keys share their beginnings in the file: without a bound, each could be longer than the last.
MAX_KEY_BYTES = 1024
_FOOTER_BYTES = 48
_LITTLE_ENDIAN = 0

# tensorflow/core/framework/types.proto
_DTYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "|u1",
    5: "<i2",
    6: "|i1",
    9: "<i8",
    10: "|b1",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
_BFLOAT16 = 14


class _Damage(Exception):
    """Something in the bytes is wrong; the caller adds the file's name."""


@dataclass(frozen=True)
class Entry:
    """One variable of the index: where its bytes lie and what they are."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int


def prefix_of(path: str | os.PathLike[str]) -> Path | None:
    """The checkpoint prefix that `path` belongs to: its index, one of its data files, or the prefix itself.

    A folder will do when it holds one checkpoint. None where there is no index.
    """
    path = Path(path)
    if path.is_dir():
        indices = sorted(path.glob("*.index"))
        return indices[0].with_suffix("") if len(indices) == 1 else None
    name = re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", path.name)
    prefix = path.with_name(name)
    return prefix if Path(f"{prefix}.index").is_file() else None


def read_index(path: str | os.PathLike[str]) -> dict[str, Entry]:
    """Read an index file: variable name -> Entry, CRCs of the blocks checked.

    Raises:
      WeightsError: not an index file, damaged, compressed, big-endian, or with sliced variables.
    """
    return _read_index(Path(path))[0]


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read every variable of a checkpoint, given its prefix, index, data file or folder.

    Returns:
      Arrays by variable name, equal to the bit to TensorFlow's (bfloat16 widened to float32).

    Raises:
      WeightsError: a file is missing, cut short or damaged (the CRC names the variable).
    """
    prefix = prefix_of(path)
    if prefix is None:
        raise WeightsError(
            f"{path}: no TensorFlow checkpoint here; give the .index file, with its .data-* files beside it"
        )
    entries, shards = _read_index(Path(f"{prefix}.index"))
    arrays: dict[str, np.ndarray] = {}
    by_shard: dict[int, list[tuple[str, Entry]]] = {shard: [] for shard in range(shards)}
    for name, entry in entries.items():
        by_shard[entry.shard].append((name, entry))
    for shard, mine in by_shard.items():
        data_path = f"{prefix}.data-{shard:05d}-of-{shards:05d}"
        try:
            check_size(data_path)
            with open(data_path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                left = size
                for name, entry in mine:
                    if entry.offset + entry.size > size:
                        raise WeightsError(
                            f"{data_path}: {size} bytes, but {name} ends at {entry.offset + entry.size}; the "
                            "file is cut short: fetch it again"
                        )
                    left -= entry.size
                    if left < 0:
                        raise WeightsError(f"{data_path}: {size} bytes, and its variables share some; fetch it again")
                    file.seek(entry.offset)
                    arrays[name] = _decode(data_path, name, entry, file.read(entry.size))
        except OSError as error:
            raise WeightsError(f"{data_path}: cannot be read ({error.strerror or error})") from error
    return {name: arrays[name] for name in entries}


def _decode(data_path: str, name: str, entry: Entry, raw: bytes) -> np.ndarray:
    if entry.dtype != _BFLOAT16 and entry.dtype not in _DTYPES:
        raise WeightsError(f"{data_path}: {name} has TensorFlow's type {entry.dtype}, which is not a plain number")
    dtype = np.dtype("<u2" if entry.dtype == _BFLOAT16 else _DTYPES[entry.dtype])
    if math.prod([*entry.shape]) * dtype.itemsize != entry.size or max(entry.shape, default=0) >= 2**40:
        raise WeightsError(f"{data_path}: {name} of shape {entry.shape} and {dtype} in {entry.size} bytes")
    if masked(crc32c(raw)) != entry.crc:
        raise WeightsError(f"{data_path}: the checksum of {name} is wrong: the file is damaged, fetch it again")
    array = np.frombuffer(bytearray(raw), dtype).reshape(entry.shape) if raw else np.zeros(entry.shape, dtype)
    return widened(array) if entry.dtype == _BFLOAT16 else array


# --- the LevelDB table


def _read_index(path: Path) -> tuple[dict[str, Entry], int]:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_INDEX_BYTES + 1)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(data) > MAX_INDEX_BYTES or len(data) < _FOOTER_BYTES or not data.endswith(TABLE_MAGIC):
        raise WeightsError(f"{path}: not the index of a TensorFlow checkpoint, or cut short; fetch it again")
    try:
        entries: dict[str, Entry] = {}
        shards = 0
        for key, value in _table(data):
            if key == b"":
                shards = _header(value)
            else:
                entries[key.decode()] = _entry(value)
                if len(entries) > MAX_VARIABLES:
                    raise _Damage(f"the index has more than {MAX_VARIABLES} variables")
        if not 0 < shards <= 10_000 or any(entry.shard >= shards for entry in entries.values()):
            raise _Damage("the number of data files is wrong")
    except (_Damage, IndexError, ValueError) as error:
        raise WeightsError(f"{path}: {error}; fetch the checkpoint again") from error
    return entries, shards


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    footer = data[-_FOOTER_BYTES:]
    _, position = _varint(footer, 0)
    _, position = _varint(footer, position)  # the metaindex block: unused
    offset, position = _varint(footer, position)
    size, _ = _varint(footer, position)
    # A hostile index may name one block many times: together they hold no more than the file.
    budget = len(data)
    for _, handle in _block(data, offset, size):
        offset, position = _varint(handle, 0)
        size, _ = _varint(handle, position)
        budget -= size
        if budget < 0:
            raise _Damage("the index names more blocks than it holds")
        yield from _block(data, offset, size)


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    if offset + size + 5 > len(data) - _FOOTER_BYTES:
        raise _Damage("a block of the index lies outside the file")
    block, kind = data[offset : offset + size], data[offset + size]
    stored = int.from_bytes(data[offset + size + 1 : offset + size + 5], "little")
    if masked(crc32c(data[offset : offset + size + 1])) != stored:
        raise _Damage("the checksum of a block of the index is wrong")
    if kind != 0:
        raise _Damage("the index is compressed (snappy), which TensorFlow's savers do not do; save it uncompressed")
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 - 4 * restarts
    if size < 4 or end < 0:
        raise _Damage("a block of the index is malformed")
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        rest, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + rest + length > end or shared + rest > MAX_KEY_BYTES:
            raise _Damage("an entry of the index is malformed")
        key = key[:shared] + block[position : position + rest]
        yield key, block[position + rest : position + rest + length]
        position += rest + length


# --- the two protocol buffers


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Damage("a number of the index is malformed")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            number, position = _varint(message, position)
            yield field, number
            continue
        size, position = _varint(message, position) if wire == 2 else ({1: 8, 5: 4}.get(wire, -1), position)
        if size < 0 or position + size > len(message):
            raise _Damage("an entry of the index is malformed")
        chunk = message[position : position + size]
        position += size
        yield field, chunk if wire == 2 else int.from_bytes(chunk, "little")


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise _Damage("an entry of the index is malformed")
    return value


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise _Damage("an entry of the index is malformed")
    return value


def _header(message: bytes) -> int:
    fields = dict(_fields(message))
    if fields.get(2, _LITTLE_ENDIAN) != _LITTLE_ENDIAN:
        raise _Damage("the checkpoint was written on a big-endian machine")
    return _number(fields.get(1, 0))


def _entry(message: bytes) -> Entry:
    shape: list[int] = []
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    for field, value in _fields(message):
        if field == 7:
            raise _Damage("a variable is stored in slices (partitioned); save it whole")
        if field == 2:
            for inner, dim in _fields(_message(value)):
                if inner == 2:
                    shape.append(_number(dict(_fields(_message(dim))).get(1, 0)))
                elif inner == 3 and dim:
                    raise _Damage("a variable has no known shape")
        elif field in numbers:
            numbers[field] = _number(value)
    if len(shape) > 32:
        raise _Damage("a variable has too many dimensions")
    return Entry(numbers[1], tuple(shape), numbers[3], numbers[4], numbers[5], numbers[6])
