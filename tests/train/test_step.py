"""The compiled step: what it may not do twice, what it may not move, and that savings of memory change no gradient.

The network is I3D up to its first Inception module: what is checked does not depend on depth.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aqa_jax import config as config_lib
from aqa_jax.compilation import CompiledOnce
from aqa_jax.config_keys import HEAD_NAMES, OptimizerConfig
from aqa_jax.errors import ConfigError, RunError
from aqa_jax.models import i3d, primitives
from aqa_jax.train import loop, packed
from aqa_jax.train import state as states
from aqa_jax.train.optimizer import make_optimizer
from aqa_jax.train.run import Run
from aqa_jax.train.step import Guarded, make_train_step, shard
from tests.tiny import tiny_config

VIDEOS = 4


def make_run(**changes) -> Run:
    settings = {"data.crop": 16, "data.clip_length": 8, "train.batch_size": VIDEOS, "model.final_endpoint": "Mixed_3b"}
    return Run(config_lib.resolve(tiny_config("nowhere", **(settings | changes))))


def batch_of(run: Run) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = {"segment": rng.integers(0, 4, VIDEOS, np.int32), "pace": rng.integers(0, 4, VIDEOS, np.int32)}
    return {
        "video": rng.integers(0, 256, (VIDEOS, *run.batch_shape), np.uint8),
        "row": np.arange(VIDEOS, dtype=np.int32),
        "score": rng.uniform(20, 90, VIDEOS).astype(np.float32),
        "difficulty": np.full(VIDEOS, 2.5, np.float32),
        "exemplar_key": np.full(VIDEOS, 2.5, np.float32),
        "judges": rng.uniform(3, 9, (VIDEOS, 7)).astype(np.float32),
    } | labels  # fmt: skip


def shapes_of(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def traced_step(run: Run):
    """The step's jaxpr and its results' shapes, for one device."""
    optimizer = make_optimizer(run.config.optimizer, 10)
    state = jax.eval_shape(lambda: states.start(run.assembler.init(), optimizer))
    step = make_train_step(run.task, run.assembler, optimizer, 10, 0)
    batch = {k: jax.ShapeDtypeStruct((1, *v.shape), v.dtype) for k, v in batch_of(run).items()}
    jaxpr, results = jax.make_jaxpr(step, return_shape=True)(state, batch)
    return str(jaxpr), state, results


def test_one_message_between_devices_and_float32_kept_under_bfloat16():
    run = make_run(**{"model.dtype": "bfloat16"})
    jaxpr, state, (new, figures) = traced_step(run)
    # A vector of the head's gradient, one of the backbone's, one of figures: and no entry goes twice.
    sizes = [int(size) for size in re.findall(r":f32\[(\d+)\] = psum(?:_invariant)?\[", jaxpr)]
    assert len(sizes) == len(re.findall(r"= psum", jaxpr)) == 3
    own = [name for name in figures if not name.endswith("_norm")]
    assert sum(sizes) == sum(leaf.size for leaf in jax.tree.leaves(state["trainable"])) + len(own)
    assert re.search(r":bf16\[[\d,]*\] = conv_general_dilated", jaxpr)  # or nothing was checked
    assert jax.tree.map(lambda x: x.dtype, new) == jax.tree.map(lambda x: x.dtype, state)
    floats = {leaf.dtype for leaf in jax.tree.leaves((new, figures)) if leaf.dtype != jnp.int32}
    assert floats == {jnp.dtype("float32")}


def test_runs_that_differ_in_their_seed_share_the_program():
    def program(seed):
        run = make_run(**{"train.trainable": "head", "head.name": "dae", "seed": seed})
        optimizer = make_optimizer(run.config.optimizer, 10)
        state = jax.eval_shape(lambda: states.start(run.assembler.init(), optimizer))
        batch = {k: jax.ShapeDtypeStruct((1, *v.shape), v.dtype) for k, v in batch_of(run).items()}
        return make_train_step(run.task, run.assembler, optimizer, 10, seed).lower(state, batch).as_text()

    assert program(0) == program(1)


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_heads_see_float32_under_bfloat16(name):
    run = make_run(**{"model.dtype": "bfloat16", "head.name": name})
    groups = jax.eval_shape(run.assembler.init)

    def loss(groups, batch):
        return run.task.loss(run.assembler.merge(groups), batch, jax.random.key(0), jnp.float32(0))

    results = jax.eval_shape(loss, groups, shapes_of(batch_of(run)))
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype("float32")}


def test_statistics_of_bfloat16_are_taken_in_float32():
    norm = i3d.BatchNorm(3, i3d.Dialect(bn_momentum=1.0))
    x = jnp.asarray(100 + np.random.default_rng(0).standard_normal((64, 3)), jnp.bfloat16)
    assert norm(x, "batch").dtype == jnp.bfloat16
    assert norm.var[...].dtype == norm.mean[...].dtype == jnp.float32
    wanted = np.asarray(x, np.float64)
    np.testing.assert_allclose(norm.mean[...], wanted.mean(0), rtol=1e-6)
    np.testing.assert_allclose(norm.var[...], wanted.var(0, ddof=1), rtol=1e-5)


def loss_of(run: Run):
    """The mean loss as a function of (trained, groups, batch [1, B, ...])."""

    def loss(trainable, groups, batch):
        model = run.assembler.merge({**groups, "trainable": trainable})
        model.dtype = jax.tree.leaves(groups)[0].dtype
        losses, _ = run.task.loss(model, batch, jax.random.key(3), jnp.float32(0.5))
        return losses.mean()

    # One device as a mapped axis, for the batch statistics.
    mapped = jax.vmap(loss, in_axes=(None, None, 0), axis_name=states.AXIS)
    return lambda *arguments: mapped(*arguments)[0]


def activations_kept(run: Run, groups, batch) -> list[jax.ShapeDtypeStruct]:
    """What lies between forward and backward pass: traced, not run."""

    def residuals(trainable, groups, batch):
        return jax.vjp(lambda trainable: loss_of(run)(trainable, groups, batch), trainable)[1]

    kept = jax.tree.leaves(jax.eval_shape(residuals, groups["trainable"], groups, batch))
    # [1, clips, T, H, W, C], perhaps by chunks: parameters and the exemplars' features have fewer axes.
    return [leaf for leaf in kept if leaf.ndim >= 6]


def gradient_of(run: Run):
    """Gradient of the mean loss in float64, and the bytes of activations kept for the backward pass."""
    groups = jax.tree.map(lambda x: np.asarray(x, np.float64), run.assembler.init())
    with jax.enable_x64(True):
        batch = {k: v[None].astype(np.float64) if v.dtype == np.float32 else v[None] for k, v in batch_of(run).items()}
        lowered = jax.jit(jax.grad(loss_of(run))).lower(groups["trainable"], groups, batch)
        # Nobody waits for this program to run, only for its code.
        compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
        gradient = jax.device_get(compiled(groups["trainable"], groups, batch))
        kept = activations_kept(run, groups, batch)
    return gradient, sum(leaf.size * leaf.dtype.itemsize for leaf in kept)


@pytest.fixture
def features_in_float64(monkeypatch):
    def pool(self, x):
        return primitives.avg_pool3d(x, (2, 7, 7)).mean((2, 3))

    monkeypatch.setattr(i3d.I3D, "pool", pool)


PRETEXT = {
    "task": "vspp", "vspp.dropout": 0.5, "vspp.colour_jitter": 0.3, "adapter.kind": "3d", "data.clip_length": 8,
}  # fmt: skip


@pytest.mark.usefixtures("features_in_float64")
@pytest.mark.parametrize(
    ("changes", "saving"),
    [
        ({"head.name": "core", "head.dropout": 0.5, "head.depth": 2}, {"train.clip_chunk": 2, "train.remat": "blocks"}),
        (PRETEXT, {"train.clip_chunk": 1}),
        (PRETEXT | {"model.batch_norm": "batch"}, {"train.remat": "blocks"}),
    ],
)
def test_saving_memory_changes_no_gradient(changes, saving):
    # As wide as it takes for the network's own activations to be most of what is kept.
    changes = {"model.kernels": "plain", "model.width": 0.25} | changes
    wanted, most = gradient_of(make_run(**changes))
    found, less = gradient_of(make_run(**changes, **saving))
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(wanted["i3d"]))
    for (path, ours), theirs in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(wanted), strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11 * scale, err_msg=jax.tree_util.keystr(path))
    assert less < 0.5 * most


@pytest.mark.parametrize("remat", ["none", "blocks"])
def test_nothing_is_kept_before_the_first_trained_layer(remat):
    def kept(trainable):
        run = make_run(**PRETEXT, **{"train.trainable": trainable, "train.remat": remat, "model.batch_norm": "batch"})
        batch = {k: jax.ShapeDtypeStruct((1, *v.shape), v.dtype) for k, v in batch_of(run).items()}
        return activations_kept(run, jax.eval_shape(run.assembler.init), batch)

    # Jittered frames are 16 high, what comes before Mixed_3b 8 and 4, padded a little more; Mixed_3b works at 2.
    assert any(leaf.shape[-3] > 4 for leaf in kept("all"))  # or the check would see nothing
    adapted = kept("adapters")
    assert adapted and all(leaf.shape[-3] <= 4 for leaf in adapted)
    assert kept("head") == []


def test_chunks_are_refused_where_they_would_not_be_exact():
    with pytest.raises(ConfigError, match="a clip's features depend on that clip alone"):
        make_run(**{"train.clip_chunk": 2, "model.batch_norm": "batch"})
    with pytest.raises(ConfigError, match=r"clip_chunk=3 does not divide the 8 clips .* choose one of 1, 2, 4, 8"):
        loop._check_chunk(make_run(**{"train.clip_chunk": 3}))


def test_a_second_compilation_is_an_error_that_names_the_shapes():
    step = CompiledOnce(jax.jit(lambda state, batch: (state, batch["video"].sum())))
    state = {"kernel": jnp.ones(3)}
    step(state, {"video": jnp.ones((4, 2))})
    step(state, {"video": jnp.zeros((4, 2))})
    with pytest.raises(RunError, match=r"batch/video: float32 \[4, 2\], now float32 \[3, 2\]"):
        step(state, {"video": jnp.ones((3, 2))})


def test_a_weak_type_is_seen_as_a_second_compilation():
    step = CompiledOnce(jax.jit(lambda state, batch: state * batch))
    step(jnp.float32(2), jnp.ones(()))
    with pytest.raises(RunError, match="weakly typed"):
        step(jnp.asarray(2.0), jnp.ones(()))


def test_what_was_left_on_the_host_is_refused():
    step = Guarded(jax.pmap(lambda scale, batch: scale * batch["video"], in_axes=(None, 0)))
    batch, scale = {"video": np.ones((2, 3), np.float32)}, jax.device_put(np.float32(2))
    np.testing.assert_array_equal(step(scale, shard(batch, 1)), np.full((1, 2, 3), 2))
    with pytest.raises(RuntimeError, match="Disallowed host-to-device transfer"):
        step(scale, {"video": batch["video"][None]})


def _trees():
    rng = np.random.default_rng(0)

    def leaf(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    def tree():
        return {
            "head": {"kernel": leaf(3, 4), "bias": leaf(4)},
            "i3d": {"big": leaf(5, 5), "a": {"b": leaf(2, 2), "c": leaf()}},
        }

    return tree(), [tree() for _ in range(3)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "adamw", "head_multiplier": 3.0},
        {"name": "sgd"},
        {"accumulate": 2, "clip_norm": 1.0, "warmup_steps": 1},
    ],
)
def test_packed_updates_are_the_optimizers_own(changes, monkeypatch):
    monkeypatch.setattr(packed, "LARGEST", 20)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1, weight_decay=0.01, **changes), 8)
    parameters, gradients = _trees()
    packing = packed.Packing(parameters)
    ours = theirs = parameters
    our_state, their_state = optimizer.init(packing.pack(parameters)), optimizer.init(parameters)
    assert [len(part["whole"]) for part in packing.pack(parameters).values()] == [0, 1]
    our_update = jax.jit(lambda g, *rest: packed.updated(optimizer, packing.pack(g), *rest, packing))
    their_update = jax.jit(optimizer.update)
    for gradient in gradients:
        ours, our_state, norms = our_update(gradient, our_state, ours)
        updates, their_state = their_update(gradient, their_state, theirs)
        assert norms["gradient_norm"] == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-5)
        assert norms["update_norm"] == pytest.approx(float(optax.tree.norm(updates)), rel=1e-5)
        theirs = optax.apply_updates(theirs, updates)
        saved = states.with_trees({"trainable": ours, "optimizer": our_state})
        assert jax.tree.structure(saved["optimizer"]) == jax.tree.structure(their_state)
        for a, b in zip(
            jax.tree.leaves((ours, saved["optimizer"])), jax.tree.leaves((theirs, their_state)), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
        again = states.with_vectors(saved)["optimizer"]
        assert jax.tree.structure(again) == jax.tree.structure(our_state)
        for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(our_state), strict=True):
            np.testing.assert_array_equal(a, b)
