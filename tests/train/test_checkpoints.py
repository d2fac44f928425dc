"""Checkpoints of a small tree of arrays: damaged, half written, of an earlier version, on a disk that is full."""

import errno
import json
import os
import random
import runpy
import shutil
import sys
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

from aqa_jax.errors import CheckpointError, StorageError
from aqa_jax.train import manifest
from aqa_jax.train.checkpoints import SET_ASIDE, Checkpoints
from aqa_jax.train.chosen import choose, history_of

STEPS = (3, 6, 9, 12)
RHO = {3: 0.5, 6: 0.9, 9: 0.7, 12: 0.8}


class Input:
    """An input iterator, as far as a checkpoint knows it."""

    def __init__(self, position=0):
        self.position = position

    def get_state(self):
        return json.dumps({"position": self.position}).encode()

    def set_state(self, state):
        self.position = state["position"]


def state_of(step):
    values = np.random.default_rng(step).normal(size=(40, 50)).astype(np.float32)
    model = {"trainable": {"kernel": values, "bias": values[0]}, "stats": {"mean": values[1]}}
    state = {"step": np.asarray(step, np.int32), **model, "optimizer": {"mu": values[:3]}}
    return jax.tree.map(jax.numpy.asarray, state)


def history_until(last):
    return [{"step": step, "validation": {"rho": RHO[step]}} for step in STEPS if step <= last]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(folder)
    for step in STEPS:
        checkpoints.save(step, state_of(step), Input(step), {"history": history_until(step)}, keep={3, 6})
    checkpoints.close()
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run" / "checkpoints"))


@pytest.fixture(scope="module")
def script():
    folder = Path(__file__).parents[2] / "scripts" / "reliability"
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    yield runpy.run_path(str(folder / "checkpoints.py"))
    sys.path[:] = before


def flip(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)


def test_of_forty_damages_none_is_loaded_and_the_next_whole_step_takes_the_place(whole, tmp_path, script):
    like, counts, draw = state_of(3), Counter(), random.Random(0)
    expected = script["undamaged"](whole, like, Input())
    assert sorted(expected) == list(STEPS)
    for _ in range(40):
        counts += script["case"](whole, tmp_path / "harmed", draw, like, Input(), expected)
    assert not {name: counts[name] for name in script["BAD"] if counts[name]}
    assert set(script["KINDS"]) < counts.keys()
    assert counts["noticed"] + counts["harmless"] == 40
    assert counts["fell back"] > 5 and counts["another step chosen, recorded"] > 2


def test_on_the_host_are_the_same_arrays(whole):
    checkpoints = Checkpoints(whole)
    placed, on_host = (checkpoints.restore_state(9, state_of(9), on_host=here) for here in (False, True))
    assert jax.tree.structure(placed) == jax.tree.structure(on_host)
    for one, other in zip(jax.tree.leaves(placed), jax.tree.leaves(on_host), strict=True):
        assert isinstance(one, jax.Array) and isinstance(other, np.ndarray)
        assert one.dtype == other.dtype and np.asarray(one).tobytes() == other.tobytes()
    other_model = {**state_of(9), "stats": {"mean": np.zeros(3, np.float32)}}
    with pytest.raises(CheckpointError, match="does not fit this model"):
        checkpoints.restore_state(9, other_model, on_host=True)


def test_a_training_goes_on_from_the_last_whole_step_and_can_come_to_the_damaged_ones_again(copied, capsys):
    flip(next((copied / "12" / "optimizer" / "d").iterdir()))
    shutil.rmtree(copied / "9")
    (copied / "9").mkdir()
    checkpoints, data = Checkpoints(copied), Input()
    state, progress = checkpoints.resume(state_of(3), data)
    assert int(state["step"]) == data.position == 6 and progress["history"] == history_until(6)
    said = capsys.readouterr().err
    assert "step 12 is passed over: optimizer/d/" in said and "has other content than was written" in said
    assert "step 9 is passed over" in said and "damaged_checkpoints" in said
    assert {path.name for path in (copied.parent / SET_ASIDE).iterdir()} == {"9", "12"}
    for step in (9, 12):
        checkpoints.save(step, state_of(step), Input(step), {"history": history_until(step)}, keep={3, 6})
    checkpoints.close()
    assert [step for step in checkpoints.steps() if not Checkpoints(copied).faults(step)] == list(STEPS)


def test_the_best_step_being_damaged_the_next_best_is_chosen_and_the_selection_says_so(copied, capsys):
    assert choose(Checkpoints(copied), history_until(12), "best_on_validation", "rho").to_dict()["step"] == 6
    flip(copied / "6" / "state" / "_METADATA")
    chosen = choose(Checkpoints(copied), history_until(12), "best_on_validation", "rho")
    assert chosen.step == 12 and chosen.to_dict()["passed_over"] == [6]
    assert (
        "best_on_validation chooses step 6, which cannot be used: state/_METADATA has other" in capsys.readouterr().err
    )
    # With its evaluations the newest step takes its say along.
    flip(copied / "12" / "progress" / "metadata")
    checkpoints = Checkpoints(copied)
    chosen = choose(checkpoints, history_of(checkpoints), "last", "rho")
    assert chosen.step == 9 and chosen.passed_over == (12,)
    for step in STEPS:
        (copied / str(step) / manifest.NAME).write_text("{")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints \[3, 6, 9, 12\] is whole"):
        history_of(Checkpoints(copied))


def test_a_step_of_an_earlier_version_is_used_and_that_is_said_a_lost_manifest_is_damage(copied, capsys):
    (copied / "12" / manifest.NAME).unlink()
    assert Checkpoints(copied).faults(12) == ["manifest.json is missing"]
    about = copied / "12" / "_CHECKPOINT_METADATA"
    content = json.loads(about.read_text())
    assert content["custom_metadata"].pop("manifest")
    about.write_text(json.dumps(content))
    assert Checkpoints(copied).newest_whole("state") == 12
    assert "Step 12 has no manifest (an earlier version wrote it): used unverified" in capsys.readouterr().err
    # What cannot be compared may still be unreadable.
    (copied / "12" / "optimizer" / "_METADATA").unlink()
    state, _ = Checkpoints(copied).resume(state_of(3), Input())
    assert int(state["step"]) == 9


def test_any_number_of_hosts_goes_on_from_what_another_number_saved(copied):
    data = copied / "12" / "data"
    (data / "process_0-of-1.json").rename(data / "process_0-of-2.json")
    shutil.copy(data / "process_0-of-2.json", data / "process_1-of-2.json")
    (copied / "12" / manifest.NAME).unlink()
    manifest.write(copied / "12")
    Checkpoints(copied).resume(state_of(3), hosts := Input())
    assert hosts.position == 12
    (data / "process_1-of-2.json").write_text('{"position": 11}')
    manifest.write(copied / "12")
    # The files are whole: nothing is moved away.
    with pytest.raises(CheckpointError, match="is whole, but cannot be restored: 2 positions of the input that differ"):
        Checkpoints(copied).resume(state_of(3), Input())
    assert not (copied.parent / SET_ASIDE).exists()


def test_a_disk_that_does_not_answer_is_no_damage(copied, monkeypatch):
    def failing(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(manifest, "digest", failing)
    with pytest.raises(StorageError, match="cannot be read: Input/output error"):
        Checkpoints(copied).resume(state_of(3), Input())
    assert not (copied.parent / SET_ASIDE).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["trainable"].pop("bias"), "trainable/bias is not in this model"),
        (lambda s: s["trainable"].update(other=np.zeros(2)), "trainable/other is missing"),
        (
            lambda s: s["trainable"].update(bias=np.zeros(7, np.float32)),
            r"bias is float32 \[50\], in this model float32 \[7\]",
        ),
        (
            lambda s: s["stats"].update(mean=np.zeros(50, np.float16)),
            r"stats/mean is float32 \[50\], in this model float16",
        ),
        (lambda s: s["optimizer"].pop("mu"), "mu is not in this model"),
    ],
)
def test_another_tree_shape_or_dtype_is_named_and_nothing_is_passed_over(copied, change, message):
    like = jax.tree.map(np.asarray, state_of(3))
    change(like)
    with pytest.raises(CheckpointError, match=message):
        Checkpoints(copied).resume(like, Input())
    assert not (copied.parent / SET_ASIDE).exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_in_a_save_is_a_typed_error_and_the_steps_before_are_whole(copied, number, monkeypatch):
    checkpoints = Checkpoints(copied)

    def failing(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", failing)
        with pytest.raises(StorageError, match=rf"{os.strerror(number)}[\s\S]*Whole are the steps \[3, 6, 9, 12\]"):
            checkpoints.save(15, state_of(15), Input(15), {"history": history_until(12)}, keep={3, 6})
            checkpoints.close()
    again = Checkpoints(copied)
    assert again.steps() == list(STEPS) and not any(again.faults(step) for step in STEPS)
    # The same process of another day removes what was half written.
    again.save(15, state_of(15), Input(15), {"history": history_until(12)}, keep={3, 6})
    again.close()
    assert not list(copied.glob("*tmp*")) and not again.faults(15)


def test_a_folder_that_vanished_is_not_made_anew(copied, tmp_path):
    checkpoints = Checkpoints(copied)
    checkpoints.save(15, state_of(15), Input(15), {"history": history_until(12)}, keep={3, 6})
    checkpoints._manager.wait_until_finished()
    copied.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="checkpoints is gone: bring it back"):
        checkpoints.save(18, state_of(18), Input(18), {"history": history_until(12)}, keep={3, 6})
    checkpoints.close()
    assert not copied.exists()
