import json
import os
import signal
import subprocess
import threading

import numpy as np
import pytest

from aqa_jax.data import decode
from aqa_jax.errors import ConfigError, DecodeError, RunError, printable
from aqa_jax.predict import sandbox as sandbox_module
from aqa_jax.predict import wire
from aqa_jax.predict.sandbox import Sandbox
from tests.predict import misbehaving


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(seconds=60, megabytes=256) as one:
        yield one


def test_results_come_back_as_they_were(sandbox):
    arrays = [np.arange(6, dtype=np.int64).reshape(2, 3), np.zeros((0, 4), np.float32), np.array([True, False])]
    values = (None, 1, -2.5, "ä", [1, (2, 3)], {"a": arrays[0]}, *arrays, np.ones((2, 3, 4), np.uint8)[:, ::2])
    back = sandbox.call(misbehaving.echo, *values)
    assert back[:5] == values[:5]
    for ours, theirs in zip((values[5]["a"], *values[6:]), (back[5]["a"], *back[6:]), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_the_child_knows_little(sandbox, monkeypatch):
    assert not {"jax", "tensorflow_datasets", "pytest", "scipy"} & set(sandbox.call(misbehaving.modules))
    monkeypatch.setenv("SECRET_TOKEN", "1")
    with Sandbox() as other:
        assert "SECRET_TOKEN" not in other.call(misbehaving.environment)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (misbehaving.crash, r"crashed on it \(signal 11\)"),
        (misbehaving.leave, r"crashed on it \(exit code 3\)"),
        (misbehaving.take_memory, "more than 256 MB.*config.predict.decode_mb"),
        (misbehaving.take_memory_bit_by_bit, "more than 256 MB"),
        (misbehaving.raise_theirs, "ZeroDivisionError: one by nought"),
        (misbehaving.end_the_call, r"cannot be decoded \(.*all files"),
        (misbehaving.return_an_object, "Path cannot leave the sandbox"),
    ],
)
def test_every_end_is_an_error_for_that_file_alone(function, says, sandbox):
    with pytest.raises(DecodeError, match=f"^a.mp4: .*{says}"):
        sandbox.call(function, "a.mp4")
    assert sandbox.call(misbehaving.echo, 1) == (1,)


def test_the_next_file_is_not_blamed_for_a_child_that_was_killed(sandbox):
    os.kill(sandbox.call(os.getpid), signal.SIGKILL)
    (ended,) = [child for child in sandbox._idle if child.pid]
    ended._process.wait()
    assert sandbox.call(misbehaving.echo, 1) == (1,)


def test_a_child_that_does_not_start_says_why_and_a_stop_stays_a_stop(monkeypatch):
    monkeypatch.setattr(sandbox_module, "_CODE", "import sys; sys.exit('no OpenCV here')")
    with Sandbox() as one:
        with pytest.raises(RunError, match="did not start: no OpenCV here\nNo file is to blame"):
            one.call(misbehaving.echo, 1)
        with monkeypatch.context() as patch, pytest.raises(RunError, match=r"did not start: .*No processes left"):
            patch.setattr(subprocess, "Popen", _refused)
            one.call(misbehaving.echo, 1)
        monkeypatch.setattr(sandbox_module._Child, "_receive", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            one.call(misbehaving.echo, 1)
        assert not one.pids


def _interrupted(*_):
    # Not by a signal: what its handler raises may hit a destructor, and be lost.
    raise KeyboardInterrupt


def _refused(*_, **__):
    raise BlockingIOError(11, "No processes left")


def test_time_is_limited_in_every_thread():
    with Sandbox(seconds=0.3) as short:
        found = []

        def call(function):
            with pytest.raises(DecodeError, match=r"longer than 0.3 seconds.*config.predict.decode_seconds") as error:
                short.call(function, "a.mp4")
            found.append(error)

        threads = [threading.Thread(target=call, args=[f]) for f in (misbehaving.never_return, misbehaving.sleep)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 2


def test_our_errors_keep_their_class_and_say_nothing_to_a_terminal(sandbox):
    with pytest.raises(ConfigError, match=r"^a key �\[31m is wrong$"):
        sandbox.call(misbehaving.raise_ours, "a.mp4")


def test_what_codecs_say_is_heard_and_bounded(sandbox):
    assert sandbox.call_listening(misbehaving.say, "one", "two\x07") == (None, ["one", "two�"])
    assert sandbox.call_listening(misbehaving.echo) == ((), [])
    _, lines = sandbox.call_listening(misbehaving.say_much)
    assert 0 < sum(map(len, lines)) <= 2**16
    assert sandbox.call_listening(misbehaving.echo) == ((), [])


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff" * 4096,
        misbehaving.framed(b"{}")[:-1],
        misbehaving.framed(b"[" * 10_000),
        misbehaving.framed(b'{"result": {"__array__": ["|O", [1]]}, "messages": []}'),
        misbehaving.framed(b'{"result": {"__array__": ["<f8", [100000000000]]}, "messages": []}'),
        misbehaving.framed(b'{"result": {"__array__": ["<f8", [-1]]}, "messages": []}'),
        misbehaving.framed(b'{"result": {"__array__": 3}, "messages": []}'),
        misbehaving.framed(b'{"result": ' + b"9" * 10_000 + b', "messages": []}'),
    ],
)
def test_a_forged_answer_is_an_error(answer):
    read, write = os.pipe()
    with os.fdopen(write, "wb") as stream:
        stream.write(answer)
    with os.fdopen(read, "rb", buffering=0) as stream, pytest.raises(wire.WireError):
        wire.receive(stream, 2**20)


def test_a_forging_child_is_ended(sandbox):
    with pytest.raises(DecodeError, match="forge: the decoding process sent no result"):
        sandbox.call(misbehaving.forge, misbehaving.framed(json.dumps(["no"]).encode()))
    assert sandbox.call(misbehaving.echo, 1) == (1,)


def test_children_end_with_the_sandbox():
    with Sandbox() as one:
        pid = one.call(os.getpid)
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeError, match="closed"):
        one.call(misbehaving.echo)


def test_nothing_reaches_a_terminal_as_a_command():
    assert printable("a\x1b]0;title\x07\u202eb\nc\x9b31m – ±") == "a�]0;title��b\nc�31m – ±"


def test_a_codec_without_memory_is_told_from_damage(tmp_path):
    """It says nothing but that there is no frame; what it says of the next file is believed again."""
    decode.write_video(tmp_path / "large.mp4", [np.zeros((4320, 7680, 3), np.uint8)] * 2)
    (tmp_path / "noise.mp4").write_bytes(bytes(5000))
    with Sandbox(megabytes=64) as small:
        for _ in range(2):
            with pytest.raises(DecodeError, match=r"large\.mp4: decoding takes more than 64 MB"):
                small.call(decode.count_frames, tmp_path / "large.mp4")
            with pytest.raises(DecodeError, match=r"noise\.mp4: not a video"):
                small.call(decode.count_frames, tmp_path / "noise.mp4")
