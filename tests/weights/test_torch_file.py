"""Torch's two file formats, read without torch: equal to the bit, and wrong files refused."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from aqa_jax.errors import UnsafePickleError, WeightsError
from aqa_jax.weights.torch_file import read_torch
from tests.weights.torch_writer import Name, Storage, Tensor, tensor, tensors, write_legacy, write_zip

GOLDEN = Path(__file__).parents[1] / "golden" / "torch_files"
FORMATS = {"zip": write_zip, "legacy": write_legacy}


@pytest.fixture(params=FORMATS)
def write(request):
    return FORMATS[request.param]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["flat", "nested"])
def test_golden_files_to_the_bit(name, form):
    expected = np.load(GOLDEN / "expected.npz")
    keys = [key for key in expected.files if key.startswith(name + "/")]
    read = read_torch(GOLDEN / f"{name}_{form}.pth")
    assert sorted(read) == sorted(key.removeprefix(name + "/") for key in keys)
    for key in keys:
        got = read[key.removeprefix(name + "/")]
        assert (got.dtype, got.shape) == (expected[key].dtype, expected[key].shape), key
        assert got.tobytes() == expected[key].tobytes(), key


@pytest.mark.parametrize("form", FORMATS)
def test_every_truncation_is_a_typed_error(form, tmp_path):
    data = (GOLDEN / f"nested_{form}.pth").read_bytes()
    path = tmp_path / "cut.pth"
    for end in [*range(0, 2000, 37), *range(2000, len(data), 1499), len(data) - 1]:
        path.write_bytes(data[:end])
        with pytest.raises(WeightsError, match=r"cut\.pth"):
            read_torch(path)


def test_a_flipped_bit_in_a_zip_is_found(tmp_path):
    data = bytearray((GOLDEN / "flat_zip.pth").read_bytes())
    data[20_000] ^= 1
    (tmp_path / "flipped.pth").write_bytes(data)
    with pytest.raises(WeightsError, match="CRC"):
        read_torch(tmp_path / "flipped.pth")


def test_any_root_folder_and_both_containers(write, tmp_path):
    arrays = {"fc1.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.arange(3)}
    path = tmp_path / "a.pth"
    write(path, OrderedDict(tensors(arrays)))
    read = read_torch(path)
    assert all(np.array_equal(read[key], arrays[key]) and read[key].dtype == arrays[key].dtype for key in arrays)
    write_zip(path, tensors(arrays), root="deep/er")
    assert sorted(read_torch(path)) == ["fc1.weight", "n"]


def test_a_state_dict_with_attributes_and_numpy_numbers(write, tmp_path):
    state = OrderedDict(tensors({"w": np.ones(2, np.float32)}))
    state._metadata = OrderedDict(version=1)
    write(
        tmp_path / "a.pth",
        {"state_dict": state, "rho": np.float64(0.9449), "arch": "I3D", "none": None, "l": [1]},
    )
    read = read_torch(tmp_path / "a.pth")
    assert sorted(read) == ["l/0", "rho", "state_dict/w"]
    assert read["rho"] == 0.9449


def test_a_file_of_python_2_and_torch_0(tmp_path):
    """As the Kinetics files of 2017 and 2018: byte strings, long sizes, torch.Size, items as lists."""
    arrays = {"Conv3d_1a_7x7.conv3d.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4)}
    arrays["Conv3d_1a_7x7.bn.bias"] = np.arange(300, dtype=np.float32)
    write_legacy(tmp_path / "a.pt", OrderedDict(tensors(arrays)), python2=True)
    data = (tmp_path / "a.pt").read_bytes()
    assert b"ctorch\nSize\n" in data
    assert b"U\x1bConv3d_1a_7x7.conv3d.weight" in data
    read = read_torch(tmp_path / "a.pt")
    assert all(read[key].tobytes() == value.tobytes() for key, value in arrays.items())


def test_a_window_of_a_storage_as_torch_0_wrote_it(tmp_path):
    raw = np.arange(10, dtype=np.float32).tobytes()
    storage = Storage("7", "FloatStorage", 10, raw, window=("8", 4, 3))
    write_legacy(tmp_path / "a.pth", {"w": Tensor(storage, 1, (2,), (1,))})
    np.testing.assert_array_equal(read_torch(tmp_path / "a.pth")["w"], [5, 6])
    write_legacy(tmp_path / "a.pth", {"w": Tensor(storage, 1, (3,), (1,))})
    with pytest.raises(WeightsError, match="w: element 3 of a storage of 3"):
        read_torch(tmp_path / "a.pth")
    storage.window = ("8", 4, 7)
    write_legacy(tmp_path / "a.pth", {"w": Tensor(storage, 1, (2,), (1,))})
    with pytest.raises(WeightsError, match="window"):
        read_torch(tmp_path / "a.pth")


def test_newer_unsigned_types(write, tmp_path):
    values = np.array([1, 2**16 - 1], np.uint16)
    rebuild, dtype = Name("torch._utils", "_rebuild_tensor_v3"), Name("torch", "uint16")
    storage = Storage("0", "storage.UntypedStorage", 4, values.tobytes())
    write(tmp_path / "a.pth", {"w": Tensor(storage, 0, (2,), (1,), rebuild, (False, None, dtype))})
    read = read_torch(tmp_path / "a.pth")["w"]
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, values)
    write(
        tmp_path / "a.pth",
        {"w": Tensor(storage, 0, (2,), (1,), rebuild, (False, None, Name("torch", "int4")))},
    )
    with pytest.raises(UnsafePickleError, match=r"torch\.int4"):
        read_torch(tmp_path / "a.pth")


FLOATS = Storage("0", "FloatStorage", 6, np.arange(6, dtype=np.float32).tobytes())


@pytest.mark.parametrize(
    "bad, says",
    [
        (Tensor(FLOATS, 0, (7,), (1,)), "element 6 of a storage of 6"),
        (Tensor(FLOATS, 5, (2,), (1,)), "element 6 of a storage of 6"),
        (Tensor(FLOATS, 0, (2, 3), (4, 1)), "element 6 of a storage of 6"),
        (Tensor(FLOATS, 0, (2,), (2**62,)), "of a storage of 6"),
        (Tensor(FLOATS, 10**9, (1,), (1,)), "of a storage of 6"),
        (Tensor(FLOATS, 0, (10**6, 10**6), (0, 0)), "larger than the file justifies"),
        (Tensor(FLOATS, -1, (2,), (1,)), "described wrongly"),
        (Tensor(FLOATS, 0, (-2,), (1,)), "not whole numbers"),
        (Tensor(FLOATS, 0, (2,), (-1,)), "not whole numbers"),
        (Tensor(FLOATS, 0, (2.0,), (1,)), "not whole numbers"),
        (Tensor(FLOATS, 0, (2, 3), (1,)), "described wrongly"),
        (Tensor(FLOATS, 0, (0, 2**40, 2**40), (1, 1, 1)), "too big|too large|dimension"),
        (Tensor(Storage("0", "FloatStorage", 6, b"\0" * 20), 0, (2,), (1,)), "storage"),
        (Tensor(Storage("0", "FloatStorage", -1, b""), 0, (2,), (1,)), "described wrongly"),
    ],
    ids=lambda p: p if isinstance(p, str) else "",
)
def test_tensors_stay_inside_their_storage(bad, says, write, tmp_path):
    write(tmp_path / "bad.pth", {"w": bad})
    with pytest.raises(WeightsError, match=f"bad.pth.*({says})"):
        read_torch(tmp_path / "bad.pth")


def test_expanded_and_one_element_tensors_are_fine(write, tmp_path):
    write(
        tmp_path / "a.pth",
        {"expanded": Tensor(FLOATS, 2, (3, 2), (0, 1)), "one": Tensor(FLOATS, 5, (1, 1), (2**62, 2**62))},
    )
    read = read_torch(tmp_path / "a.pth")
    np.testing.assert_array_equal(read["expanded"], [[2, 3]] * 3)
    np.testing.assert_array_equal(read["one"], [[5]])


@pytest.mark.parametrize(
    "thing, named",
    [
        (Name("os", "system"), r"os\.system"),
        (Name("torch", "FloatStorage"), "bare name"),
        ({"model": Name("models", "InceptionI3d")}, r"models\.InceptionI3d"),
        ({"w": Tensor(FLOATS, 0, (2,), (1,), Name("torch._utils", "_rebuild_sparse_tensor"))}, "sparse"),
        ({"w": Tensor(FLOATS, 0, (2,), (1,), Name("torch", "FloatStorage"))}, "only be named"),
        ({"w": Tensor(FLOATS, 0, (2,), (1,), Name("torch.storage", "_load_from_bytes"))}, "_load_from_bytes"),
    ],
    ids=["os.system", "bare", "module", "sparse", "storage called", "nested bytes"],
)
def test_names_outside_a_state_dict_are_refused(thing, named, write, tmp_path):
    write(tmp_path / "bad.pth", thing)
    with pytest.raises(UnsafePickleError, match=f"bad.pth.*{named}"):
        read_torch(tmp_path / "bad.pth")


def test_names_beside_tensors_are_no_leaves(write, tmp_path):
    write(tmp_path / "bad.pth", {"dtype": Name("torch", "FloatStorage")})
    with pytest.raises(WeightsError, match="dtype: neither a tensor nor a number"):
        read_torch(tmp_path / "bad.pth")


def test_shared_and_cyclic_trees_do_not_run_away(write, tmp_path):
    node = {"w": tensor("0", np.zeros(1, np.float32))}
    for _ in range(40):
        node = {"a": node, "b": node}
    write(tmp_path / "bomb.pth", node)
    with pytest.raises(WeightsError, match=r"nested deeper|justifies"):
        read_torch(tmp_path / "bomb.pth")
    cycle = {}
    cycle["a"] = cycle
    write(tmp_path / "bomb.pth", cycle)
    with pytest.raises(WeightsError, match="nested deeper"):
        read_torch(tmp_path / "bomb.pth")


def test_two_entries_of_one_name(write, tmp_path):
    write(tmp_path / "a.pth", {"a/b": 1, "a": {"b": 2}})
    with pytest.raises(WeightsError, match="a/b: two entries"):
        read_torch(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "options, says",
    [
        ({"magic": 1}, "not a file written by torch|not torch's"),
        ({"protocol": 1002}, "protocol"),
        ({"little_endian": False}, "big-endian"),
        ({"keys": []}, "list of storages"),
        ({"keys": ["0", "0"]}, "list of storages"),
        ({"keys": [["0"]]}, "list of storages"),
        ({"keys": 3}, "list of storages"),
        ({"numel": 5}, "cut short"),
        ({"numel": -1}, "cut short"),
    ],
)
def test_legacy_headers_are_checked(options, says, tmp_path):
    write_legacy(tmp_path / "bad.pth", {"w": tensor("0", np.zeros(6, np.float32))}, **options)
    with pytest.raises(WeightsError, match=says):
        read_torch(tmp_path / "bad.pth")


def test_a_storage_of_two_sizes(tmp_path):
    other = Storage("0", "DoubleStorage", 3, FLOATS.raw)
    write_legacy(tmp_path / "bad.pth", {"a": Tensor(FLOATS, 0, (2,), (1,)), "b": Tensor(other, 0, (2,), (1,))})
    with pytest.raises(WeightsError, match="declared twice"):
        read_torch(tmp_path / "bad.pth")


@pytest.mark.parametrize(
    "options, says",
    [
        ({"extra": {"constants.pkl": b"", "code/__torch__.py": b""}}, "TorchScript"),
        ({"extra": {"byteorder": b"big"}}, "big-endian"),
        ({"extra": {"more/data.pkl": b""}}, "no single data.pkl"),
        ({"without": ("data.pkl",)}, "no single data.pkl"),
        ({"without": ("data/0",)}, "data/0 is missing"),
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed"),
    ],
)
def test_zip_members_are_checked(options, says, tmp_path):
    write_zip(tmp_path / "bad.pth", {"w": tensor("0", np.zeros(6, np.float32))}, **options)
    with pytest.raises(WeightsError, match=f"bad.pth.*{says}"):
        read_torch(tmp_path / "bad.pth")


def test_members_of_one_name(tmp_path):
    path = tmp_path / "bad.pth"
    write_zip(path, {"w": tensor("0", np.zeros(6, np.float32))})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", b"")
    with pytest.raises(WeightsError, match="twice"):
        read_torch(path)


def test_other_pickles_are_refused(tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"w": [1.0]}))
    with pytest.raises(WeightsError, match="bare pickle"):
        read_torch(tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"missing\.pth"):
        read_torch(tmp_path / "missing.pth")


@pytest.mark.parametrize("form", FORMATS)
def test_flipped_bytes_are_typed_errors_or_harmless(form, tmp_path):
    data = (GOLDEN / f"nested_{form}.pth").read_bytes()
    path = tmp_path / "flipped.pth"
    rng = np.random.default_rng(0)
    structure = [*range(1600), *range(len(data) - 2000, len(data))]
    errors = 0
    for position in rng.choice(structure, 200, replace=False):
        flipped = bytearray(data)
        flipped[position] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        try:
            read_torch(path)
        except WeightsError:
            errors += 1
    assert errors > 50
