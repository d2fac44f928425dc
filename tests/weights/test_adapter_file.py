"""Adapter files: what was written comes back, and what is damaged or something else is named."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy

from aqa_jax import weights
from aqa_jax.errors import WeightsError
from aqa_jax.weights import adapter_file
from aqa_jax.weights.adapter_file import AdapterFile, backbone_fingerprint, group_fingerprint, read_adapter
from tests.weights import fakes

WIDTH = 0.05
SETTINGS = {
    "kind": "3d", "blocks": ["Mixed_3b", "Mixed_5c"], "ratio": 4, "rank": 4, "zero_scale": False, "depthwise": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def flat():
    shapes = fakes.targets(WIDTH) | fakes.adapter_targets(WIDTH)
    rng = np.random.default_rng(0)
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def adapter(flat):
    groups = tuple(group_fingerprint("data_builders/toy", name) for name in ("a", "b"))
    arrays = adapter_file.adapter_arrays(flat)
    return AdapterFile(arrays, SETTINGS, "pecop", WIDTH, backbone_fingerprint(flat), {"task": "vspp"}, groups)


def test_there_and_back_to_the_bit(adapter, tmp_path):
    adapter.write(tmp_path / "a.safetensors")
    again = read_adapter(tmp_path / "a.safetensors")
    assert dataclasses.replace(again, arrays={}) == dataclasses.replace(adapter, arrays={})
    assert set(again.arrays) == set(adapter.arrays)
    for name, value in adapter.arrays.items():
        assert again.arrays[name].dtype == np.float32
        assert again.arrays[name].tobytes() == value.tobytes()
    assert len(again.arrays) == 9 * 5 + 57 * 2


def test_the_fingerprint_is_of_what_pretraining_leaves_alone(flat):
    before = backbone_fingerprint(flat)
    moved = {k: v + 1 if "/adapter/" in k or k.endswith(("/mean", "/var")) else v for k, v in flat.items()}
    assert backbone_fingerprint(moved) == before
    assert backbone_fingerprint(moved | {"head/fc1/bias": np.ones(3), "i3d/logits/bias": np.ones(3)}) == before
    assert backbone_fingerprint(dict(reversed(moved.items()))) == before
    for changed in ("i3d/Mixed_3b/b0/conv/kernel", "i3d/Mixed_5c/b0/bn/bias"):
        other = flat | {changed: np.nextafter(flat[changed], 2)}
        assert backbone_fingerprint(other) != before


def test_a_group_is_told_apart_by_its_dataset():
    assert group_fingerprint("toy", "a") == group_fingerprint("/elsewhere/toy", "a")
    assert group_fingerprint("toy", "a") != group_fingerprint("other", "a")
    assert len(group_fingerprint("toy", "a")) == 16


def test_every_key_that_does_not_fit_is_named(adapter):
    assert adapter.misfits(SETTINGS | {"zero_scale": True, "rank": 9}, "pecop", WIDTH) == []
    said = adapter.misfits(SETTINGS | {"kind": "lora", "ratio": 8, "blocks": ("Mixed_3b",)}, "piergiaj", 1.0)
    assert said == [
        "config.adapter.kind is lora, the file's 3d",
        "config.adapter.blocks is Mixed_3b, the file's Mixed_3b, Mixed_5c",
        "config.adapter.ratio is 8, the file's 4",
        "config.model.dialect is piergiaj, the file's pecop",
        "config.model.width is 1, the file's 0.05",
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "its arrays are not those that were written"),
        ({"adapter": '{"kind": "3d"'}, "its metadata cannot be read"),
        ({"adapter": '{"kind": "4d"}'}, "its metadata cannot be read"),
        ({"adapter": '{"kind": "3d"}'}, "its metadata cannot be read"),
        ({"training_groups": "7"}, "its metadata cannot be read"),
    ],
)
def test_altered_files(adapter, tmp_path, changes, says):
    path = tmp_path / "a.safetensors"
    adapter.write(path)
    arrays, metadata = weights.read_safetensors(path)
    if not changes:
        arrays["i3d/Mixed_3b/adapter/scale"] = arrays["i3d/Mixed_3b/adapter/scale"] + 1
    path.write_bytes(safetensors.numpy.save(arrays, metadata | changes))
    with pytest.raises(WeightsError, match=says):
        read_adapter(path)


def test_damaged_files(adapter, tmp_path):
    path = tmp_path / "a.safetensors"
    adapter.write(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        read_adapter(path)
    nan = adapter.arrays | {"i3d/Mixed_3b/adapter/scale": np.full(13, np.nan, np.float32)}
    dataclasses.replace(adapter, arrays=nan).write(path)
    with pytest.raises(WeightsError, match="i3d/Mixed_3b/adapter/scale hold NaN"):
        read_adapter(path)


def test_one_kind_of_file_for_the_other(adapter, flat, tmp_path):
    backbone, path = tmp_path / "backbone.safetensors", tmp_path / "adapter.safetensors"
    weights.write_safetensors(backbone, flat)
    adapter.write(path)
    with pytest.raises(WeightsError, match=r"not an adapter file but a weight file.*config\.model\.weights"):
        read_adapter(backbone)
    with pytest.raises(WeightsError, match=r"an adapter file, without the backbone.*config\.adapter\.file"):
        weights.load_source(path)


def test_a_file_in_words(adapter, flat, tmp_path):
    backbone, path = tmp_path / "backbone.safetensors", tmp_path / "adapter.safetensors"
    weights.write_safetensors(backbone, flat, {"source": "here"})
    adapter.write(path)
    text = weights.describe(path)
    count = sum(value.size for name, value in adapter.arrays.items() if "/adapter/" in name)
    assert "an adapter file" in text
    assert f"{count:,} in 45 arrays" in text
    assert adapter.backbone in text
    assert "Mixed_3b, Mixed_5c" in text
    assert "2 groups (patients, athletes, ...) and videos" in text
    text = weights.describe(backbone)
    assert f"{sum(a.size for a in flat.values()):,}" in text
    assert "here" in text
