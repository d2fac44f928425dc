"""Adapters of a tiny run: frozen is frozen, and what is exported attaches to its own backbone alone."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax import modes, weights
from aqa_jax.errors import CheckpointError, ConfigError, DataError, WeightsError
from aqa_jax.models.adapters import TUNING
from aqa_jax.train import loop
from aqa_jax.train import state as states
from aqa_jax.train.adapter import adapter_of_run, attach, check_overlap, load_adapter
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.final import evaluate_run
from aqa_jax.train.imported import import_weights
from aqa_jax.train.initial import initial_state
from aqa_jax.train.optimizer import make_optimizer
from aqa_jax.train.run import Run, restored_like
from aqa_jax.weights.adapter_file import (
    adapter_arrays,
    backbone_fingerprint,
    group_fingerprint,
    read_adapter,
    video_fingerprint,
)
from tests.tiny import tiny_config

PRETRAINING = {
    "adapter.kind": "3d", "adapter.blocks": ("Mixed_3b", "Mixed_3c"), "train.trainable": "adapters",
    "model.batch_norm": "batch", "train.steps": 2, "train.evaluate_every": 2, "train.batch_size": 2,
    "evaluate.batch_size": 2, "evaluate.bootstrap": 0,
    "data.options": "train_videos=12,test_videos=4", "data.validation_fraction": 0.35,
    # Not for speed of the steps: it compiles sooner.
    "model.kernels": "plain",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("adapter")


@pytest.fixture(scope="module")
def config_of(folder):
    return lambda **changes: config_lib.resolve(tiny_config(folder / "data", **(PRETRAINING | changes)))


@pytest.fixture(scope="module")
def workdir(folder, config_of):
    run = loop.train(config_of(), folder / "run")
    evaluate_run(run, folder / "run", folder / "run" / "evaluation")
    return folder / "run"


@pytest.fixture(scope="module")
def file(workdir):
    return workdir / "evaluation" / "adapter.safetensors"


def flat_of(state):
    return {name: np.asarray(leaf) for name, leaf in states.flat(state, ("trainable", "frozen", "stats")).items()}


def zeros(run):
    """What a fresh model has, without the seconds that drawing it takes."""
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(run.assembler.init))


def start(config, groups=None):
    run = Run(config)
    if groups is not None:
        run.initial_groups = groups(run)
    return flat_of(initial_state(run, make_optimizer(config.optimizer, 2)))


@pytest.fixture(scope="module")
def fresh(config_of):
    return start(config_of())


def test_frozen_means_frozen(workdir, config_of, fresh):
    config = config_of()
    checkpoints = Checkpoints(workdir / "checkpoints")
    trained = checkpoints.restore_state(2, restored_like(Run(config)))
    checkpoints.close()
    before, after = fresh, flat_of(trained)
    frozen = set(states.flat(trained, ("frozen",)))
    assert len(frozen) == 15 * 3
    for name in frozen:
        assert before[name].tobytes() == after[name].tobytes(), name
    moved = {name for name in after if not np.array_equal(before[name], after[name])}
    assert {name for name in moved if "/adapter/" in name} == {name for name in after if "/adapter/" in name}
    assert {name for name in moved if name.endswith("/bn/var")} == {n for n in after if n.endswith("/bn/var")}


@pytest.mark.parametrize("word", TUNING)
def test_the_optimizer_knows_what_is_trained_and_nothing_else(config_of, word):
    run = Run(config_of(**{"train.trainable": word}))
    groups = jax.eval_shape(run.assembler.init)
    trained, frozen = (states.flat(groups, (group,)) for group in ("trainable", "frozen"))
    moments = jax.eval_shape(make_optimizer(run.config.optimizer, 2).init, groups["trainable"])
    sizes = sorted(leaf.shape for leaf in jax.tree.leaves(moments) if leaf.shape)
    assert sizes == sorted(2 * [leaf.shape for leaf in trained.values()])  # Adam's two moments
    assert bool(frozen) == (word != "all")
    assert {name.partition("/")[0] for name in trained} >= {"head"}
    wanted = {
        "all": lambda name: True, "head": lambda name: False, "adapters": lambda name: "/adapter/" in name,
        "norm": lambda name: "/bn/" in name, "bias": lambda name: name.endswith("/bias"),
    }[word]  # fmt: skip
    backbone = {name for name in trained | frozen if name.startswith("i3d/")}
    assert {name for name in trained if name.startswith("i3d/")} == {name for name in backbone if wanted(name)}


def test_a_run_leaves_its_adapters_and_starts_another(workdir, file, config_of, fresh, capsys):
    config = config_of(**{"adapter.file": str(file), "train.trainable": "all"})
    adapter, attached = read_adapter(file), start(config)
    assert "adapter parameters and the running statistics" in capsys.readouterr().out
    for name, value in adapter.arrays.items():
        assert attached[name].tobytes() == value.tobytes(), name
    assert backbone_fingerprint(attached) == adapter.backbone == backbone_fingerprint(fresh)
    assert json.loads(adapter.provenance["selection"])["step"] == 2
    trained_on = json.loads((workdir / "trained_on.json").read_text())
    assert adapter.groups == tuple(trained_on["groups"])
    # The workdir itself, read by Orbax, is the same.
    other = load_adapter(workdir)
    assert dataclasses.replace(other, arrays={}) == dataclasses.replace(adapter, arrays={})
    assert all(other.arrays[name].tobytes() == value.tobytes() for name, value in adapter.arrays.items())


def test_export_and_inspect(workdir, file, folder, config_of, capsys):
    request = modes.Request(config_of(), workdir, output=folder / "out" / "adapter.safetensors")
    assert modes.run("export_adapter", request) == 0
    assert read_adapter(request.output).arrays.keys() == read_adapter(file).arrays.keys()
    said = capsys.readouterr().out
    for path in (request.output, workdir):
        assert modes.run("inspect", modes.Request(config_of(), Path(), weights=str(path))) == 0
        assert capsys.readouterr().out.split(": ", 1)[1] == said.split(": ", 1)[1]
    with pytest.raises(ConfigError, match="--output"):
        modes.run("export_adapter", dataclasses.replace(request, output=None))


def test_a_backbone_that_moved_is_not_exported(workdir, config_of, tmp_path):
    changed = json.loads((workdir / "config.json").read_text())
    changed["train"]["trainable"] = "all"
    (tmp_path / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match="Only a run that trains adapters alone"):
        adapter_of_run(tmp_path)


def test_another_backbone_width_or_kind(file, config_of):
    def refused(**changes):
        run = Run(config_of(**changes))
        with pytest.raises(WeightsError) as caught:
            attach(run, zeros(run), file)
        return str(caught.value)

    message = refused(**{"model.weights": "elsewhere/other.pt"})
    assert "belongs to another backbone" in message
    assert read_adapter(file).backbone in message
    assert "random, seed 0" in message
    assert "this run has" in message and "config.model.weights=other.pt" in message
    assert "config.model.width is 0.06, the file's 0.05" in refused(**{"model.width": 0.06})
    assert "config.adapter.kind is lora, the file's 3d" in refused(**{"adapter.kind": "lora"})


def test_groups_of_the_test_split_are_refused_by_name(file, config_of):
    run = Run(config_of())
    adapter = read_adapter(file)
    check_overlap(run, adapter.groups, "its own pretraining")
    tested = str(run.store.table.column("group")[run.rows["test"]][0])
    seen = (*adapter.groups, group_fingerprint(run.config.data.builder, tested))
    with pytest.raises(DataError, match=rf"1 group\(s\) of this run's test split: {tested}\."):
        check_overlap(run, seen, "this file")
    # Where groups are on both sides of a split, videos still must not be.
    row = int(run.rows["test"][0])
    mixed = Run(config_of())
    mixed.store, mixed.rows = run.store, {**run.rows, "train": np.append(run.rows["train"], run.rows["test"])}
    check_overlap(mixed, (group_fingerprint(run.config.data.builder, tested),), "this file")
    video = str(run.store.table.column("id")[row])
    with pytest.raises(DataError, match=rf"1 video\(s\) of this run's test split: {video}\."):
        check_overlap(mixed, (video_fingerprint(run.config.data.builder, tested, video),), "this file")
    # The same groups of another dataset are other people.
    check_overlap(run, (group_fingerprint("elsewhere", tested),), "another dataset")
    allowed = Run(config_of(**{"data.allow_pretraining_overlap": True}))
    check_overlap(allowed, seen, "this file")
    assert set(allowed.trained_on()["groups"]) >= set(seen)


def test_weights_with_adapters_inside(workdir, file, config_of, folder, capsys):
    config, output = config_of(), folder / "exported"
    import_weights(config, workdir, output)
    exported = output / "weights.safetensors"
    adapter = read_adapter(file)
    loaded = start(config_of(**{"model.weights": str(exported)}), zeros)
    for name, value in adapter.arrays.items():
        assert loaded[name].tobytes() == value.tobytes(), name
    metadata = weights.read_safetensors(exported)[1]
    assert tuple(json.loads(metadata["training_groups"])) == adapter.groups
    capsys.readouterr()
    changed = folder / "changed.safetensors"
    halved = {k: v / 2 if k.endswith("/adapter/scale") else v for k, v in adapter.arrays.items()}
    dataclasses.replace(adapter, arrays=halved).write(changed)
    both = start(config_of(**{"model.weights": str(exported), "adapter.file": str(changed)}), zeros)
    assert "in place of the adapters in config.model.weights" in capsys.readouterr().out
    assert all(np.array_equal(both[name], value) for name, value in halved.items())
    # Imported, not trained: nobody knows on what.
    with pytest.raises(CheckpointError, match="was imported"):
        adapter_of_run(output, "last")


def test_adapters_of_the_model_are_all_in_the_file(file, config_of):
    groups = jax.eval_shape(Run(config_of()).assembler.init)
    names = {name for name in states.flat(groups) if "/adapter/" in name or name.endswith(("/bn/mean", "/bn/var"))}
    assert set(read_adapter(file).arrays) == names
    assert set(adapter_arrays({name: np.zeros(1) for name in states.flat(groups)})) == names
