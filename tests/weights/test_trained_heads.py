"""The originals' trained heads: from their files to our heads, with the golden predictions; others are left out."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

from aqa_jax import config as config_lib
from aqa_jax.config_keys import HeadConfig
from aqa_jax.errors import WeightsError
from aqa_jax.models.heads import HEADS
from aqa_jax.train.imported import import_weights
from aqa_jax.weights import convert, load_source, read_safetensors
from tests.golden import rule
from tests.tiny import tiny_config
from tests.weights import fakes
from tests.weights.torch_writer import tensors, write_legacy, write_zip

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "heads_reference.npz")
WIDTH = 0.0625
SETTINGS = {
    "usdl": HeadConfig(name="usdl"),
    "musdl": HeadConfig(name="musdl", bins=21, lowest=0.0, highest=10.0),
    "core": HeadConfig(name="core", pool=1),
    "dae": HeadConfig(name="dae"),
}


@pytest.fixture(scope="module")
def backbone():
    return fakes.torch_state("piergiaj", WIDTH, classes=10)


def head_of(name, features=1024, settings=None):
    return HEADS[name](features, settings or SETTINGS[name], None, nnx.Rngs(0))


def targets_of(head):
    params = traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(head, nnx.Param)), sep="/")
    return fakes.targets(WIDTH) | {f"head/{path}": leaf.shape for path, leaf in params.items()}


def filled(head, values):
    graph, params, rest = nnx.split(head, nnx.Param, ...)
    flat = traverse_util.flatten_dict(nnx.to_pure_dict(params), sep="/")
    flat = {path: jnp.asarray(values[f"head/{path}"]) for path in flat}
    return nnx.merge(graph, nnx.State(traverse_util.unflatten_dict(flat, sep="/")), rest)


@pytest.mark.parametrize(("write", "wrap"), [(write_zip, ""), (write_legacy, "module.")])
def test_usdl_and_musdl_from_file_to_score(write, wrap, backbone, tmp_path):
    for name, state in (
        ("usdl", fakes.evaluator_state(1024, 101)),
        ("musdl", fakes.evaluator_state(1024, 21, judges=7)),
    ):
        path = tmp_path / f"{name}.pt"
        # Numbered together: the storages of one file have one number each.
        named = {("i3d", wrap + key): value for key, value in backbone.items()}
        named |= {("evaluator", wrap + key): value for key, value in state.items()}
        parts: dict = {"i3d": {}, "evaluator": {}}
        for (part, key), value in tensors(named).items():
            parts[part][key] = value
        write(path, {"epoch": 7, **parts, "rho_best": np.float64(0.9)})
        source, style = load_source(path)
        head = head_of(name)
        values, report = convert(source, targets_of(head), style, optional={"head"})
        assert report.groups() == {"i3d", "head"}
        assert not report.left
        head = filled(head, values)
        outputs = head(jnp.asarray(rule.array(f"{name}/f", (4, 1024))))
        batch = {"difficulty": jnp.asarray(GOLDEN["musdl/difficulty"])}
        np.testing.assert_allclose(head.distribution(outputs, batch).mode, GOLDEN[f"{name}/pred"], atol=1e-5)
        np.testing.assert_allclose(jax.nn.softmax(outputs["logits"]), GOLDEN[f"{name}/probs"], atol=1e-5)


@pytest.mark.parametrize("prefix", ["regressor/", "regressor/module."])
def test_cores_tree(prefix, backbone):
    source = {f"base_model/module.backbone.{key}": value for key, value in backbone.items()}
    source |= {f"{prefix}{key}": value for key, value in fakes.tree_state(1024).items()}
    head = head_of("core")
    values, report = convert(source, targets_of(head), optional={"head"})
    assert report.groups() == {"i3d", "head"}
    outputs = filled(head, values).pair_outputs(jnp.asarray(rule.array("core/x", (6, 2049))))
    np.testing.assert_allclose(outputs["logprob"], GOLDEN["core/leaf_logprob"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs["position"], GOLDEN["core/delta"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("theirs", "ours", "reason"),
    [
        ("musdl", "usdl", "another method than config.head.name"),
        ("usdl", "musdl", "another method"),
        ("usdl", "dae", "another method"),
        ("core", "dae", "another method"),
        ("dae", "usdl", "another method"),
        ("dae", "core", "another method"),
        ("musdl", HeadConfig(name="musdl", panel="sum", bins=21), "another panel"),
        ("usdl", HeadConfig(name="usdl", bins=25), r"other sizes than config\.head's"),
        ("dae", HeadConfig(name="dae_judges"), "other sizes"),
    ],
)
def test_a_head_of_another_kind_is_left_out(theirs, ours, reason, backbone):
    states = {
        "usdl": fakes.evaluator_state(1024, 101), "musdl": fakes.evaluator_state(1024, 21, judges=7),
        "core": {f"regressor/{key}": value for key, value in fakes.tree_state(1024).items()}, "dae": fakes.dae_state(),
    }  # fmt: skip
    source = backbone | states[theirs]
    settings = SETTINGS.get(ours, ours) if isinstance(ours, str) else ours
    head = head_of(settings.name, settings=settings)
    values, report = convert(source, targets_of(head), optional={"head"})
    assert report.groups() == {"i3d"}
    assert set(values) == set(fakes.targets(WIDTH))
    reasons = {why for key, _, why in report.dropped if key in states[theirs]}
    assert len(reasons) == 1
    assert re.search(reason, reasons.pop())


def test_a_head_with_a_hole_is_an_error(backbone):
    state = fakes.evaluator_state(1024, 101)
    del state["evaluator.layer2.bias"]
    with pytest.raises(WeightsError, match="head/evaluator/layer2/bias"):
        convert(backbone | state, targets_of(head_of("usdl")), optional={"head"})


def test_the_file_of_four_folds_is_named():
    with pytest.raises(WeightsError, match="networks of 2 folds"):
        convert({f"i3ds/{fold}.Conv3d_1a_7x7.conv3d.weight": np.zeros(1) for fold in (0, 1)}, {})


def test_import_takes_usdls_head_whatever_standardise_says(tmp_path):
    config = config_lib.resolve(
        tiny_config(
            tmp_path / "data", **{"head.name": "usdl", "model.width": WIDTH, "model.final_endpoint": "Mixed_5c"}
        )
    )
    assert config.head.standardise
    state = fakes.evaluator_state(fakes.feature_size(WIDTH), 101)
    path = tmp_path / "usdl.pth"
    write_zip(path, tensors(fakes.torch_state("piergiaj", WIDTH) | state))
    table = import_weights(config, path, tmp_path / "imported")
    assert "-> head/evaluator/layer3/kernel" in table
    kept = read_safetensors(tmp_path / "imported" / "weights.safetensors")[0]
    np.testing.assert_array_equal(kept["head/evaluator/layer3/kernel"], state["evaluator.layer3.weight"].T)
