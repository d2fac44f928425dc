"""TensorFlow's checkpoint format, read without TensorFlow: equal to the bit, damage found."""

import itertools
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from aqa_jax.errors import WeightsError
from aqa_jax.weights.crc32c import crc32c, masked
from aqa_jax.weights.sniff import TABLE_MAGIC
from aqa_jax.weights.tf_checkpoint import prefix_of, read_checkpoint, read_index

GOLDEN = Path(__file__).parents[1] / "golden" / "tf_checkpoint"
INDEX, DATA = "model.ckpt.index", "model.ckpt.data-00000-of-00001"


@pytest.fixture
def copy(tmp_path):
    for name in (INDEX, DATA):
        shutil.copy(GOLDEN / name, tmp_path / name)
        (tmp_path / name).chmod(0o644)
    return tmp_path


def test_golden_checkpoint_to_the_bit():
    expected = np.load(GOLDEN / "expected.npz")
    read = read_checkpoint(GOLDEN / "model.ckpt")
    assert sorted(read) == sorted(key.replace("|", "/") for key in expected.files)
    for key in expected.files:
        got = read[key.replace("|", "/")]
        assert (got.dtype, got.shape) == (expected[key].dtype, expected[key].shape), key
        assert got.tobytes() == expected[key].tobytes(), key


def test_index_of_the_published_kinetics_checkpoint():
    entries = read_index(GOLDEN / "deepmind_rgb_imagenet.index")
    assert len(entries) == 230
    assert entries["RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w"].shape == (7, 7, 7, 3, 64)
    assert entries["RGB/inception_i3d/Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w"].shape == (3, 3, 3, 32, 128)
    assert entries["RGB/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d/b"].shape == (400,)
    # The variables fill the data file without gap or overlap.
    spans = sorted((entry.offset, entry.offset + entry.size) for entry in entries.values())
    assert spans[0][0] == 0
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    assert all(entry.size == 4 * np.prod(entry.shape) for entry in entries.values())
    sizes = {name: entry.size // 4 for name, entry in entries.items() if "Logits" not in name}
    kernels = sum(size for name, size in sizes.items() if name.endswith("/w"))
    channels = sum(size for name, size in sizes.items() if name.endswith("/beta"))
    # The trunk as published: kernels, shifts, and the scales that this file leaves out.
    assert kernels + 2 * channels == 12_287_264


@pytest.mark.parametrize("name", ["model.ckpt", INDEX, DATA, ""])
def test_any_of_its_files_names_a_checkpoint(name, copy):
    assert prefix_of(copy / name) == copy / "model.ckpt"
    assert len(read_checkpoint(copy / name)) == 18


def test_what_is_no_checkpoint(copy, tmp_path):
    (copy / INDEX).unlink()
    for path in (copy, copy / "model.ckpt", copy / DATA, tmp_path / "nowhere"):
        assert prefix_of(path) is None
        with pytest.raises(WeightsError, match="no TensorFlow checkpoint"):
            read_checkpoint(path)


def test_missing_or_short_data(copy):
    data = (copy / DATA).read_bytes()
    (copy / DATA).write_bytes(data[:-1])
    with pytest.raises(WeightsError, match=r"data-00000-of-00001: 18627 bytes, but .*w ends at 18628"):
        read_checkpoint(copy)
    (copy / DATA).unlink()
    with pytest.raises(WeightsError, match=r"data-00000-of-00001: cannot be read"):
        read_checkpoint(copy)


def test_a_flipped_bit_anywhere_in_the_data_names_the_variable(copy):
    data = bytearray((copy / DATA).read_bytes())
    for position in range(0, len(data), 1997):
        data[position] ^= 4
        (copy / DATA).write_bytes(data)
        with pytest.raises(WeightsError, match=r"checksum of RGB/inception_i3d/.* is wrong"):
            read_checkpoint(copy)
        data[position] ^= 4


def test_a_flipped_bit_in_the_index_is_found_or_harmless(copy):
    expected = read_checkpoint(copy)
    index = bytearray((copy / INDEX).read_bytes())
    found = 0
    for position in range(0, len(index), 23):
        index[position] ^= 1
        (copy / INDEX).write_bytes(index)
        try:
            read = read_checkpoint(copy)
        except WeightsError:
            found += 1
        else:
            assert all(np.array_equal(read[key], expected[key]) for key in expected)
        index[position] ^= 1
    assert found > len(range(0, len(index), 23)) * 0.9


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(items, kind=0):
    body = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in items)
    body += struct.pack("<II", 0, 1)
    return body + bytes([kind]) + struct.pack("<I", masked(crc32c(body + bytes([kind]))))


def entry(raw, dtype=1, shape=(2,), offset=0, size=None, extra=b""):
    dims = b"".join(field(2, field(1, n)) for n in shape)
    size = len(raw) if size is None else size
    crc = varint(6 << 3 | 5) + struct.pack("<I", masked(crc32c(raw)))
    return field(1, dtype) + field(2, dims) + field(4, offset) + field(5, size) + crc + extra


def write(folder, items, raw=b"", *, header=None, kind=0, handles=None):
    header = field(1, 1) + field(3, b"\x08\x01") if header is None else header
    data = block([(b"", header), *items], kind)
    handle = varint(0) + varint(len(data) - 5)
    index = block([(b"x", handle)] if handles is None else handles)
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(index) - 5)
    (folder / "m.index").write_bytes(data + index + footer.ljust(40, b"\0") + TABLE_MAGIC)
    (folder / "m.data-00000-of-00001").write_bytes(raw)
    return folder / "m"


@pytest.mark.parametrize(
    "dtype, values",
    [
        (1, np.array([1.5, -2], np.float32)),
        (2, np.array([1.5, -2], np.float64)),
        (3, np.array([1, -2], np.int32)),
        (9, np.array([1, -2], np.int64)),
        (10, np.array([True, False])),
        (19, np.array([1.5, -2], np.float16)),
    ],
)
def test_every_number_type(dtype, values, tmp_path):
    raw = values.tobytes()
    read = read_checkpoint(write(tmp_path, [(b"w", entry(raw, dtype))], raw))["w"]
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


def test_bfloat16_scalars_and_empty_variables(tmp_path):
    raw = b"\xc0\x3f"
    items = [(b"b", entry(raw, 14, ())), (b"e", entry(b"", 1, (0, 3)))]
    read = read_checkpoint(write(tmp_path, items, raw))
    assert read["b"].dtype == np.float32
    assert read["b"] == 1.5
    assert read["e"].shape == (0, 3)


RAW = np.ones(2, np.float32).tobytes()


@pytest.mark.parametrize(
    "items, options, says",
    [
        ([(b"w", entry(RAW, 7))], {}, "w has TensorFlow's type 7"),
        ([(b"w", entry(RAW, shape=(3,)))], {}, "w of shape"),
        ([(b"w", entry(RAW, shape=(2**40, 2**40)))], {}, "w of shape"),
        ([(b"w", entry(RAW, size=2**40, shape=(2**38,)))], {}, "cut short"),
        ([(b"w", entry(RAW, offset=2**60))], {}, "cut short"),
        ([(b"w", entry(RAW, extra=field(7, b"")))], {}, "slices"),
        ([(b"w", entry(RAW, extra=field(3, 5)))], {}, "number of data files"),
        ([(b"w", field(2, field(3, 1)))], {}, "no known shape"),
        ([(b"w", b"\x0a\xff\x01")], {}, "malformed"),
        ([(b"w", b"\x0f")], {}, "malformed"),
        ([(b"w", b"\xff" * 10)], {}, "malformed"),
        ([(b"w", entry(RAW, shape=(1,) * 33))], {}, "dimensions"),
        ([(b"\xff", entry(RAW))], {}, "decode"),
        ([], {"header": field(1, 1) + field(2, 1)}, "big-endian"),
        ([], {"header": b""}, "number of data files"),
        ([], {"kind": 1}, "snappy"),
        ([], {"handles": [(b"x", varint(2**40) + varint(8))]}, "outside the file"),
        ([], {"handles": [(b"x", varint(0) + varint(14))] * 50}, "checksum|more blocks"),
    ],
)
def test_wrong_indices(items, options, says, tmp_path):
    prefix = write(tmp_path, items, RAW, **options)
    with pytest.raises(WeightsError, match=says):
        read_checkpoint(prefix)


def test_no_index_at_all(tmp_path):
    path = tmp_path / "m.index"
    for content in (b"", b"short", bytes(100)):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="not the index"):
            read_index(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_index(tmp_path / "none.index")
