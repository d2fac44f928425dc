"""Rules: complete files of every key style land whole; anything missing, extra or odd is named."""

from pathlib import Path

import numpy as np
import pytest

from aqa_jax.errors import WeightsError
from aqa_jax.weights import convert
from aqa_jax.weights.convert import group_of
from aqa_jax.weights.rules import detect_style
from aqa_jax.weights.tf_checkpoint import read_index
from tests.weights import fakes

GOLDEN = Path(__file__).parents[1] / "golden"
WIDTH = 0.125


@pytest.fixture(scope="module")
def hassony2():
    return fakes.torch_state("hassony2", WIDTH, classes=10)


@pytest.fixture(scope="module")
def piergiaj():
    return fakes.torch_state("piergiaj", WIDTH, classes=10)


def assert_torch_values(values, source, style):
    """Every value equals its source, found from our names, with the axes spelled out."""
    leaves = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    norm = {"hassony2": "batch3d", "piergiaj": "bn"}[style]
    checked = 0
    for ours, theirs, *_ in fakes.units(WIDTH):
        name = theirs if style == "hassony2" else ours.replace("/", ".")
        kernel = np.einsum("oithw->thwio", source[f"{name}.conv3d.weight"])
        np.testing.assert_array_equal(values[f"i3d/{ours}/conv/kernel"], kernel)
        for our_leaf, their_leaf in leaves.items():
            np.testing.assert_array_equal(values[f"i3d/{ours}/bn/{our_leaf}"], source[f"{name}.{norm}.{their_leaf}"])
        checked += 5
    assert checked == 57 * 5


def test_the_fakes_are_the_published_network():
    trunk = fakes.targets()
    trained = {key: shape for key, shape in trunk.items() if not key.endswith(("/mean", "/var"))}
    assert sum(int(np.prod(shape)) for shape in trained.values()) == 12_287_264
    assert sum(i * o + o for i, o in fakes.HEAD.values()) == 295_554
    index = read_index(GOLDEN / "tf_checkpoint" / "deepmind_rgb_imagenet.index")
    kernels = {f"RGB/inception_i3d/{name}/conv_3d/w": (k, k, k, i, o) for _, _, name, k, i, o in fakes.units()}
    assert kernels == {k: e.shape for k, e in index.items() if k.endswith("/w") and "Logits" not in k}


@pytest.mark.parametrize("style", ["hassony2", "piergiaj"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone.", "model.", "module.model."])
def test_torch_styles_and_wrappers(style, prefix, request):
    source = request.getfixturevalue(style)
    wrapped = {prefix + key: value for key, value in source.items()}
    values, report = convert(wrapped, fakes.targets(WIDTH, classes=10))
    assert list(values) == list(fakes.targets(WIDTH, classes=10))
    assert_torch_values(values, source, style)
    logits = {"hassony2": "conv3d_0c_1x1", "piergiaj": "logits"}[style]
    np.testing.assert_array_equal(
        values["i3d/logits/kernel"][0, 0, 0], source[f"{logits}.conv3d.weight"][..., 0, 0, 0].T
    )
    np.testing.assert_array_equal(values["i3d/logits/bias"], source[f"{logits}.conv3d.bias"])
    assert report.style == style
    assert len(report.used) == 57 * 5 + 2
    assert {key for key, _, _ in report.dropped} == {key for key in wrapped if key.endswith("num_batches_tracked")}
    assert all(value.dtype == np.float32 and value.flags.c_contiguous for value in values.values())


@pytest.mark.parametrize("style", ["hassony2", "piergiaj"])
def test_both_ways_gives_the_file_back(style, request):
    """From our tree the original state dict can be rebuilt, by the report alone, to the bit."""
    source = request.getfixturevalue(style)
    values, report = convert(source, fakes.targets(WIDTH, classes=10))
    for key, shape, target in report.used:
        back = values[target]
        if back.ndim == 5:
            back = np.einsum("thwio->oithw", back)
        assert back.shape == shape == source[key].shape
        assert back.tobytes() == source[key].tobytes()
    assert {key for key, _, _ in report.used} | {key for key, _, _ in report.dropped} == set(source)


def test_a_training_checkpoint_as_dae_published_it(piergiaj):
    head = fakes.dae_state()
    source = {f"i3d/{key}": value for key, value in piergiaj.items()}
    source |= {f"dae/{key}": value for key, value in head.items()}
    source |= {"epoch": np.array(7), "rho_best": np.array(0.9449), "optimizer/state/0/exp_avg": np.ones(3)}
    source |= {"optimizer/param_groups/0/lr": np.array(1e-4)}
    values, report = convert(source, fakes.targets(WIDTH, head=True))
    assert_torch_values(values, piergiaj, "piergiaj")
    for name in fakes.HEAD:
        np.testing.assert_array_equal(values[f"head/{name}/kernel"], head[f"{name}.weight"].T)
        np.testing.assert_array_equal(values[f"head/{name}/bias"], head[f"{name}.bias"])
    reasons = {key: reason for key, _, reason in report.dropped}
    assert reasons["epoch"] == reasons["rho_best"] == "a number kept beside the weights"
    assert reasons["optimizer/state/0/exp_avg"] == "training state"
    assert reasons["i3d/logits.conv3d.bias"] == "the model has no i3d/logits"
    # The same file into a model without that head.
    values, report = convert(source, fakes.targets(WIDTH))
    assert ("dae/fc1.bias", (256,), "the model has no head") in report.dropped


def test_deepmind_variables(hassony2):
    source = fakes.deepmind_variables(WIDTH, classes=10)
    assert len(source) == 230
    targets = fakes.targets(WIDTH, classes=10)
    values, report = convert(source, targets)
    theirs, _ = convert(hassony2, targets)
    for target in targets:
        expected = np.ones(targets[target]) if target.endswith("/scale") else theirs[target]
        np.testing.assert_array_equal(values[target], expected)
    assert len(report.used) == 230
    assert [target for target, _ in report.filled] == [target for target in targets if target.endswith("/scale")]
    assert "no scale" in report.table()


def test_the_published_index_fits_the_published_width():
    index = read_index(GOLDEN / "tf_checkpoint" / "deepmind_rgb_imagenet.index")
    source = {name: np.broadcast_to(np.float32(0.5), entry.shape) for name, entry in index.items()}
    values, report = convert(source, fakes.targets(1.0, classes=400))
    assert len(values) == 57 * 5 + 2
    assert (len(report.used), len(report.filled), len(report.dropped)) == (230, 57, 0)


def test_our_own_keys_come_back_as_they_are(hassony2):
    targets = fakes.targets(WIDTH)
    values, _ = convert(hassony2, targets)
    again, report = convert(values, targets)
    assert report.style == "aqa_jax"
    assert all(np.array_equal(again[key], values[key]) for key in targets)


def test_a_checkpoint_of_pecop(hassony2):
    adapters = fakes.adapter_state(WIDTH)
    source = {f"module.model.{key}": value for key, value in (hassony2 | adapters).items()}
    source["module.logits_p.conv3d.weight"] = np.ones((5, 128, 1, 1, 1), np.float32)
    values, report = convert(source, fakes.targets(WIDTH) | fakes.adapter_targets(WIDTH))
    assert_torch_values(values, hassony2, "hassony2")
    for block in fakes.INCEPTION:
        ours, theirs = f"i3d/Mixed_{block}/adapter", f"mixed_{block}.tuning_module"
        for part, conv in (("down", "conv1"), ("up", "conv2")):
            kernel = np.einsum("oithw->thwio", adapters[f"{theirs}.{conv}.weight"])
            np.testing.assert_array_equal(values[f"{ours}/{part}/kernel"], kernel)
            np.testing.assert_array_equal(values[f"{ours}/{part}/bias"], adapters[f"{theirs}.{conv}.bias"])
        np.testing.assert_array_equal(values[f"{ours}/scale"], adapters[f"{theirs}.se"].ravel())
    assert report.groups() == {"i3d", "i3d/adapters"}
    # Into a model without adapters.
    values, report = convert(source, fakes.targets(WIDTH))
    assert_torch_values(values, hassony2, "hassony2")
    reasons = {key: reason for key, _, reason in report.dropped}
    assert "no adapters (config.adapter.kind" in reasons["module.model.mixed_3b.tuning_module.se"]
    assert "pretext" in reasons["module.logits_p.conv3d.weight"]


def test_adapters_that_do_not_fit(hassony2):
    source = hassony2 | fakes.adapter_state(WIDTH)
    targets = fakes.targets(WIDTH) | fakes.adapter_targets(WIDTH, ratio=8)
    message = fails(source, targets)
    assert "Adapters differ: set config.adapter (kind, blocks, ratio" in message
    assert "mixed_3b.tuning_module.conv1.weight [8, 4, 3, 3, 3] becomes [3, 3, 3, 4, 8], but" in message
    message = fails(hassony2 | fakes.adapter_state(0.25), fakes.targets(WIDTH) | fakes.adapter_targets(WIDTH))
    assert "but i3d/Mixed_3b/adapter/scale is [32]" in message
    del source["mixed_5c.tuning_module.se"]
    message = fails(source, fakes.targets(WIDTH) | fakes.adapter_targets(WIDTH), optional=("i3d/adapters",))
    assert "i3d/Mixed_5c/adapter/scale [128]: no tensor for it" in message


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_become_float32(dtype, piergiaj):
    key = "Mixed_3b.b0.bn.bias"
    source = piergiaj | {key: piergiaj[key].astype(dtype)}
    values, _ = convert(source, fakes.targets(WIDTH))
    assert values["i3d/Mixed_3b/b0/bn/bias"].dtype == np.float32
    np.testing.assert_array_equal(values["i3d/Mixed_3b/b0/bn/bias"], source[key].astype(np.float32))


def fails(source, targets, **options):
    with pytest.raises(WeightsError) as caught:
        convert(source, targets, **options)
    return str(caught.value)


def test_a_tensor_without_a_rule(piergiaj):
    message = fails(
        piergiaj | {"Mixed_3b.b9.conv3d.weight": np.ones((2, 2, 1, 1, 1), np.float32)}, fakes.targets(WIDTH)
    )
    assert "Mixed_3b.b9.conv3d.weight [2, 2, 1, 1, 1]: no rule" in message
    # A number may stand beside the weights, a tensor not.
    assert "extra [2]: no rule" in fails(piergiaj | {"extra": np.ones(2)}, fakes.targets(WIDTH))


def test_a_leaf_without_a_tensor(piergiaj):
    source = dict(piergiaj)
    del source["Mixed_4c.b1b.bn.running_var"]
    message = fails(source, fakes.targets(WIDTH))
    assert "1 problem" in message
    assert "i3d/Mixed_4c/b1b/bn/var [28]: no tensor for it (nearest: Mixed_4c.b1b.bn." in message


def test_a_leaf_the_model_does_not_have(piergiaj):
    targets = fakes.targets(WIDTH)
    del targets["i3d/Mixed_4c/b1b/bn/var"]
    message = fails(piergiaj, targets)
    assert "Mixed_4c.b1b.bn.running_var belongs to i3d/Mixed_4c/b1b/bn/var, which the model does not have" in message


def test_of_a_shorter_network_the_rest_of_the_file_is_named(piergiaj):
    behind = ("i3d/Mixed_3c", "i3d/Mixed_4", "i3d/Mixed_5", "i3d/logits")
    targets = {key: shape for key, shape in fakes.targets(WIDTH).items() if not key.startswith(behind)}
    values, report = convert(piergiaj, targets)
    assert list(values) == list(targets)
    dropped = {key for key, _, reason in report.dropped if "config.model.final_endpoint" in reason}
    assert dropped == {key for key in piergiaj if key.startswith(("Mixed_3c", "Mixed_4", "Mixed_5"))} - {
        key for key in piergiaj if key.endswith("num_batches_tracked")
    }


def test_two_tensors_for_one_leaf(piergiaj):
    source = piergiaj | {"module.Mixed_3b.b0.bn.bias": piergiaj["Mixed_3b.b0.bn.bias"]}
    message = fails(source, fakes.targets(WIDTH))
    assert "module.Mixed_3b.b0.bn.bias and Mixed_3b.b0.bn.bias both belong to i3d/Mixed_3b/b0/bn/bias" in message


def test_a_wrong_shape_names_both(piergiaj):
    source = piergiaj | {"Mixed_3b.b0.bn.bias": np.zeros(9, np.float32)}
    message = fails(source, fakes.targets(WIDTH))
    assert "Mixed_3b.b0.bn.bias [9] becomes [9], but i3d/Mixed_3b/b0/bn/bias is [8]" in message
    source = piergiaj | {"Mixed_3b.b0.conv3d.weight": np.zeros(9, np.float32)}
    assert "Mixed_3b.b0.conv3d.weight [9]" in fails(source, fakes.targets(WIDTH))


def test_another_width_is_guessed(piergiaj):
    message = fails(piergiaj, fakes.targets(0.25))
    assert "... and" in message
    assert "It has width 0.125, the model 0.25: set config.model.width." in message
    assert fails(piergiaj, fakes.targets(0.25), name="a.pt").startswith("a.pt (piergiaj keys) does not fit")


def test_another_number_of_classes(piergiaj):
    message = fails(piergiaj, fakes.targets(WIDTH, classes=400))
    assert "logits.conv3d.weight [10, 128, 1, 1, 1] becomes [1, 1, 1, 128, 10]" in message
    assert "width" not in message


def test_the_flow_network(hassony2):
    source = hassony2 | {"conv3d_1a_7x7.conv3d.weight": np.zeros((8, 2, 7, 7, 7), np.float32)}
    assert "takes 2 channels: the optical-flow network" in fails(source, fakes.targets(WIDTH))
    flow = {key.replace("RGB", "Flow"): value for key, value in fakes.deepmind_variables(WIDTH).items()}
    assert "optical-flow" in fails(flow, fakes.targets(WIDTH))


@pytest.mark.parametrize(
    "value, says",
    [
        (np.array([np.nan] * 8, np.float32), "NaN or infinity"),
        (np.array([np.inf] * 8, np.float32), "NaN or infinity"),
        (np.array([1e300] * 8), "NaN or infinity"),
        (np.arange(8), "int64 where a weight must be a float"),
        (np.full(8, -1, np.float32), "negative variance"),
    ],
)
def test_values_that_are_no_weights(value, says, piergiaj):
    message = fails(piergiaj | {"Mixed_3b.b0.bn.running_var": value}, fakes.targets(WIDTH))
    assert "Mixed_3b.b0.bn.running_var: " in message
    assert says in message
    assert "1 problem" in message


def test_the_head_may_be_missing_as_a_whole_where_allowed(piergiaj):
    targets = fakes.targets(WIDTH, head=True)
    assert "head/fc1/kernel [1024, 256]: no tensor for it" in fails(piergiaj, targets)
    values, report = convert(piergiaj, targets, optional=("head",))
    assert report.left == [target for target in targets if group_of(target) == "head"]
    assert set(values) == {target for target in targets if group_of(target) != "head"}
    assert "head/fc1/kernel stays as it was" in report.table()
    message = fails(piergiaj | {"fc1.bias": np.zeros(256, np.float32)}, targets, optional=("head",))
    assert "head/fc1/kernel [1024, 256]: no tensor for it" in message


def test_styles_are_told_apart(hassony2, piergiaj):
    assert detect_style(hassony2) == "hassony2"
    assert detect_style(piergiaj) == "piergiaj"
    assert detect_style(fakes.deepmind_variables(WIDTH)) == "deepmind"
    assert "several key styles (hassony2, piergiaj)" in fails(hassony2 | piergiaj, fakes.targets(WIDTH))
    assert "no I3D among the file's 1 tensors ('layer1.0.conv1.weight'" in fails({"layer1.0.conv1.weight": 1}, {})
    assert "unknown key style 'keras'" in fails(piergiaj, {}, kind="keras")


def test_the_table_names_every_tensor_and_leaf(piergiaj):
    targets = fakes.targets(WIDTH)
    _, report = convert(piergiaj, targets)
    lines = report.table().splitlines()
    assert lines[0] == report.summary() == "piergiaj keys: 285 tensors used, 59 dropped"
    for key in piergiaj:
        assert sum(line.startswith(key + " ") for line in lines) == 1
    for target in targets:
        assert sum(line.endswith("-> " + target) for line in lines) == 1


@pytest.mark.parametrize("width", [1.0, 0.25])
def test_the_targets_here_are_the_models(width):
    from flax import nnx, traverse_util

    from aqa_jax.models.i3d import I3D

    model = nnx.eval_shape(lambda: I3D(rngs=nnx.Rngs(0), width=width, num_classes=10))
    leaves = traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(model)), sep="/")
    assert {"i3d/" + path: leaf.shape for path, leaf in leaves.items()} == fakes.targets(width, classes=10)
