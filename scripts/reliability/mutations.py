"""Ways to damage a video file, or to forge one: bytes in, bytes out, from a generator of random numbers."""

import struct
from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]
_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """The first 1 to 99 %."""
    return data[: int(len(data) * rng.uniform(0.01, 0.99))]


def cut_a_little(data: bytes, rng: np.random.Generator) -> bytes:
    """Without the last 1 %, or less."""
    return data[: len(data) - int(rng.integers(1, max(2, len(data) // 100)))]


def hole(data: bytes, rng: np.random.Generator) -> bytes:
    """Without 1 to 50 % of the middle."""
    start = int(len(data) * rng.uniform(0.05, 0.5))
    return data[:start] + data[start + int(len(data) * rng.uniform(0.01, 0.5)) :]


def zeros(data: bytes, rng: np.random.Generator) -> bytes:
    """A stretch of zeros, as of a file that was never downloaded to its end."""
    start, size = int(len(data) * rng.uniform(0, 0.95)), int(len(data) * rng.uniform(0.01, 0.5))
    return (data[:start] + bytes(size) + data[start + size :])[: len(data)]


def bits(data: bytes, rng: np.random.Generator) -> bytes:
    """1 to 1,000 flipped bits anywhere."""
    return _flipped(data, rng, 0, len(data), int(10 ** rng.uniform(0, 3)))


def one_bit(data: bytes, rng: np.random.Generator) -> bytes:
    """One flipped bit anywhere."""
    return _flipped(data, rng, 0, len(data), 1)


def header_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Random bytes in the first kilobyte."""
    return _noise(data, rng, 0, min(1024, len(data)))


def index_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Random bytes in the MP4's index (else in the last kilobytes)."""
    at = max(data.find(b"moov"), 0) or max(0, len(data) - 4096)
    return _noise(data, rng, at, min(len(data), at + 4096))


def other_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Another kind of file's first bytes."""
    heads = (
        b"RIFF\xff\xff\xff\xffAVI LIST", b"\x1a\x45\xdf\xa3\x01\0\0\0", b"\0\0\0\x18ftypisom", b"OggS\0\2",
        b"FLV\1\5\0\0\0\x09", b"\0\0\1\xba", b"\x47" + bytes(187) + b"\x47", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0",
        b"GIF89a\xff\xff\xff\xff", b"PK\3\4", b"\x80\4", b"#EXTM3U\n\0", b"ffconcat version 1.0\nfile other.mp4\n#\0",
    )  # fmt: skip
    head = heads[int(rng.integers(len(heads)))]
    return head + data[len(head) :]


def noise(data: bytes, rng: np.random.Generator) -> bytes:
    """No video at all, or nothing."""
    return rng.bytes(int(rng.choice([0, 1, 100, 5000])))


def no_frames(data: bytes, rng: np.random.Generator) -> bytes:
    """An MP4 whose index counts none; another file's header alone."""
    found = _box(data, b"stsz")
    return data[:1024] if found is None else data[: found + 8] + bytes(4) + data[found + 12 :]


def many_frames(data: bytes, rng: np.random.Generator) -> bytes:
    """An MP4 that claims up to 4 billion frames, or a duration of centuries."""
    kind = (b"stsz", b"mvhd", b"mdhd", b"stts")[int(rng.integers(4))]
    found = _box(data, kind)
    if found is None:
        return _noise(data, rng, 0, min(512, len(data)))
    offset = found + {b"stsz": 8, b"mvhd": 16, b"mdhd": 16, b"stts": 8}[kind]
    return data[:offset] + struct.pack(">I", int(rng.choice([2**31 - 1, 2**32 - 1, 10**8, 1000]))) + data[offset + 4 :]


def huge(data: bytes, rng: np.random.Generator) -> bytes:
    """Frames of up to 65,535 x 65,535 pixels, by the MP4's index."""
    found = _box(data, b"stsd")
    if found is None:
        return _noise(data, rng, 0, min(512, len(data)))
    offset = found + 8 + 8 + 8 + 16
    width, height = (int(rng.choice([0, 1, 4096, 16384, 65535])) for _ in range(2))
    return data[:offset] + struct.pack(">HH", width, height) + data[offset + 4 :]


def variable_rate(data: bytes, rng: np.random.Generator) -> bytes:
    """The same frames at a variable rate (MP4): half as long, then as before. Harmless."""
    found = _box(data, b"stts")
    if found is None:
        return data
    entries, count, length = struct.unpack(">III", data[found + 4 : found + 16])
    if entries != 1 or count < 2:
        return data
    table = struct.pack(">IIIII", 2, count // 2, max(1, length // 2), count - count // 2, length)
    return _with_box(data, b"stts", bytes(4) + table)


def rotated(data: bytes, rng: np.random.Generator) -> bytes:
    """The same frames with the flag of a camera on its side (MP4). Harmless."""
    found = _box(data, b"tkhd")
    if found is None:
        return data
    one = 1 << 16
    matrix = struct.pack(">iiiiiiiii", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    return data[: found + 40] + matrix + data[found + 76 :]


def longer(data: bytes, rng: np.random.Generator) -> bytes:
    """With something behind the end. Harmless."""
    return data + (b"\0" * 100 if rng.random() < 0.5 else rng.bytes(1000))


MUTATIONS: dict[str, Mutation] = {
    function.__name__: function
    for function in (
        cut, cut_a_little, hole, zeros, bits, one_bit, header_bytes, index_bytes, other_header, noise, no_frames,
        many_frames, huge, variable_rate, rotated, longer,
    )
}  # fmt: skip
HARMLESS = {"variable_rate", "rotated", "longer"}


def _flipped(data: bytes, rng: np.random.Generator, start: int, stop: int, count: int) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(start, stop, count):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _noise(data: bytes, rng: np.random.Generator, start: int, stop: int) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(start, stop, int(rng.integers(1, 20))):
        changed[place] = int(rng.integers(256))
    return bytes(changed)


def _box(data: bytes, kind: bytes) -> int | None:
    """Where the content of the MP4's first such box starts."""
    found = data.find(kind)
    return None if found < 0 or b"ftyp" not in data[:16] else found + 4


def _with_box(data: bytes, kind: bytes, content: bytes) -> bytes:
    """The MP4 with other content in a box below moov, which must lie behind the frames: their places stay."""
    found = data.find(kind) - 4
    if data.find(b"moov") < data.find(b"mdat"):
        return data
    size = struct.unpack(">I", data[found : found + 4])[0]
    grown = len(content) + 8 - size
    changed = bytearray(data[:found] + struct.pack(">I", len(content) + 8) + kind + content + data[found + size :])
    at, end = 0, len(data)
    # Down the tree: every box around it grows with it.
    while at + 8 <= end:
        size, name = struct.unpack(">I4s", data[at : at + 8])
        if at <= found < at + size and at != found:
            struct.pack_into(">I", changed, at, size + grown)
            if name not in _BOXES:
                break
            at += 8
        else:
            at += max(size, 8)
    return bytes(changed)
