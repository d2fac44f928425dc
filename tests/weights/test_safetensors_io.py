"""Our own weight files: what is written comes back, and a failed write leaves nothing."""

import json
import struct

import numpy as np
import pytest

from aqa_jax.errors import WeightsError
from aqa_jax.weights import read_safetensors, write_safetensors


def test_round_trip_of_arrays_and_metadata(tmp_path):
    arrays = {
        "i3d/Mixed_3b/b0/conv/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
        "step": np.array(7),
        "empty": np.zeros((0, 3), np.float16),
        "flags": np.array([True, False]),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    path = tmp_path / "a.safetensors"
    write_safetensors(path, arrays, {"source": "é.pt", "width": "0.25"})
    read, metadata = read_safetensors(path)
    assert metadata == {"source": "é.pt", "width": "0.25"}
    assert set(read) == set(arrays)
    for key, value in arrays.items():
        assert (read[key].dtype, read[key].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(read[key], value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    write_safetensors(path, {"w": np.ones(2)})
    assert read_safetensors(path)[1] == {}


def test_a_failed_write_leaves_nothing_and_says_where(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"file.*cannot be written"):
        write_safetensors(tmp_path / "file" / "a.safetensors", {"w": np.ones(2)})
    (tmp_path / "folder").mkdir()
    with pytest.raises(WeightsError, match=r"folder.*cannot be written"):
        write_safetensors(tmp_path / "folder", {"w": np.ones(2)})
    with pytest.raises(WeightsError, match="w is of object"):
        write_safetensors(tmp_path / "a.safetensors", {"w": np.array([{}])})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_damaged_files_are_typed_errors(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"w": np.ones(100)})
    data = path.read_bytes()
    for end in (0, 7, 20, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(WeightsError, match=r"a\.safetensors: not a readable"):
            read_safetensors(path)
    path.unlink()
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        read_safetensors(path)


@pytest.mark.parametrize("dtype, size", [("BF16", 2), ("F8_E4M3", 1)])
def test_types_without_a_numpy_type_are_typed_errors(dtype, size, tmp_path):
    header = json.dumps({"w": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2 * size))
    import ml_dtypes  # noqa: F401  (registers these types with numpy, as jax does)

    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        read_safetensors(path)
