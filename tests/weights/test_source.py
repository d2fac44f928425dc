"""Any weight file opens by its content; a wrong one is told what it looks like; published ones are known."""

import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from aqa_jax.errors import WeightsError
from aqa_jax.weights import convert, identify, load_source, provenance, write_safetensors
from aqa_jax.weights.known import KNOWN, git_blob_id
from tests.weights import fakes
from tests.weights.torch_writer import tensors, write_legacy, write_zip

GOLDEN = Path(__file__).parents[1] / "golden"
WIDTH = 0.0625


@pytest.fixture(scope="module")
def state():
    return fakes.torch_state("piergiaj", WIDTH, classes=10)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_training_checkpoint_from_file_to_tree(write, state, tmp_path):
    path = tmp_path / "best.pt"
    write(path, {"epoch": 7, "i3d": tensors(state), "rho_best": np.float64(0.9449)})
    source, style = load_source(path)
    assert style == "piergiaj"
    assert set(source) == {f"i3d/{key}" for key in state} | {"epoch", "rho_best"}
    values, _ = convert(source, fakes.targets(WIDTH), style)
    expected, _ = convert(state, fakes.targets(WIDTH))
    assert all(values[key].tobytes() == expected[key].tobytes() for key in expected)


def test_our_own_file_from_tree_to_tree(state, tmp_path):
    values, _ = convert(state, fakes.targets(WIDTH))
    write_safetensors(tmp_path / "own.safetensors", values)
    source, style = load_source(tmp_path / "own.safetensors")
    assert style == "aqa_jax"
    again, _ = convert(source, fakes.targets(WIDTH), style)
    assert all(again[key].tobytes() == values[key].tobytes() for key in values)


@pytest.mark.parametrize("name", ["model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001"])
def test_a_tensorflow_checkpoint_by_any_of_its_names(name):
    source, style = load_source(GOLDEN / "tf_checkpoint" / name)
    assert (style, len(source)) == ("deepmind", 18)


def jpeg(path):
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


def program(path):
    write_zip(path, {}, extra={"constants.pkl": b"", "code/model.py": b""})


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")


def truncated(path):
    write_zip(path, tensors({"w": np.zeros(1000, np.float32)}))
    path.write_bytes(path.read_bytes()[:2000])


WRONG = {
    "picture.jpg": (jpeg, "a JPEG image"),
    "scores.csv": (lambda path: path.write_text("id,score\n1,2.5\n"), "a CSV table"),
    "notes.txt": (lambda path: path.write_text("hällo " * 200), "looks like text"),
    "traced.pt": (program, "a TorchScript archive"),
    "photos.zip": (archive, "a zip file, but not one of torch's"),
    "cut.pth": (truncated, "a damaged or truncated zip file"),
    "pointer.pt": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
        "git-lfs pointer.*git lfs pull",
    ),
    "page.pt": (lambda path: path.write_text("\n<!DOCTYPE html><html>Too many downloads"), "a web page"),
    "config.json": (lambda path: path.write_text('{"a": 1}'), "JSON text"),
    "empty.pt": (lambda path: path.write_bytes(b""), "an empty file"),
    "array.npy": (lambda path: np.save(path, np.zeros(3)), "a numpy array file"),
    "weights.h5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600)), "an HDF5 file"),
    "video.mp4": (lambda path: path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(600)), "an MP4"),
    "noise.bin": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(999)), "unknown binary data"),
    "old.tar": (
        lambda path: path.write_bytes(b"a".ljust(257, b"\0") + b"ustar" + bytes(300)),
        "a tar archive",
    ),
    "model.ckpt.data-00000-of-00001": (
        lambda path: path.write_bytes(bytes(99)),
        "its .index is not beside it",
    ),
    "folder": (lambda path: path.mkdir(), "a folder without a TensorFlow checkpoint"),
    "nowhere.pt": (lambda path: None, "cannot be read"),
    "header.safetensors": (lambda path: path.write_bytes(b"\x08" + bytes(7) + b'{"a": 1}'), "safetensors"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_told_what_it_looks_like(name, tmp_path):
    make, says = WRONG[name]
    make(tmp_path / name)
    with pytest.raises(WeightsError, match=f"(?s){name}.*{says}"):
        load_source(tmp_path / name)


def test_weights_of_another_network(tmp_path):
    write_zip(tmp_path / "resnet.pth", tensors({"layer1.0.conv1.weight": np.zeros(3, np.float32)}))
    with pytest.raises(WeightsError, match=r"resnet\.pth: no I3D among the file's 1 tensors"):
        load_source(tmp_path / "resnet.pth")


def test_blob_id_is_gits(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello\n" * 300_000)
    if git := shutil.which("git"):
        expected = subprocess.run([git, "hash-object", str(path)], capture_output=True, text=True, check=True)
        assert git_blob_id(path) == expected.stdout.strip()
    path.write_bytes(b"")
    assert git_blob_id(path) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_the_published_index_is_recognised(tmp_path):
    # Alone, without its data, the index stands for the checkpoint.
    shutil.copy(GOLDEN / "tf_checkpoint" / "deepmind_rgb_imagenet.index", tmp_path / "model.ckpt.index")
    known = identify(tmp_path / "model.ckpt")
    assert known is not None
    assert known.style == "deepmind"
    assert known.classes == 400
    assert "recognised: deepmind/kinetics-i3d" in known.describe()


def test_other_files_are_not(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"x")
    assert identify(tmp_path / "a.pt") is None
    with pytest.raises(WeightsError, match="cannot be read"):
        identify(tmp_path / "b.pt")


def test_known_files_name_styles_and_dialects():
    from aqa_jax.models.i3d import DIALECTS
    from aqa_jax.weights.rules import STYLES

    assert all(known.style in STYLES and set(known.dialects) <= set(DIALECTS) for known in KNOWN.values())


def test_provenance_is_text(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"x")
    assert provenance(tmp_path / "a.pt") == {
        "source": "a.pt",
        "source_sha256": hashlib.sha256(b"x").hexdigest(),
        "source_published_as": "",
    }
