"""SIGTERM ends the program from wherever it is, and what is half done goes with it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
START = """
import multiprocessing, os, pathlib, signal, sys, time
from aqa_jax.files import replacing
from aqa_jax.stopping import half_done, install
install()
target = pathlib.Path(sys.argv[1])
def ask():
    signal.raise_signal(signal.SIGTERM)
"""
MOMENTS = {
    "a file is half written": "with replacing(target) as half:\n    half.write_text('half')\n    ask()",
    "a removal fails": "with half_done(target.unlink), half_done(lambda: 1 / 0):\n    target.touch()\n    ask()",
    # What a handler raises here is lost.
    "in __del__": """
class Thing:
    def __del__(self):
        ask()
with half_done(target.unlink):
    target.touch()
    thing = Thing()
    del thing""",
    "output waits to be written": "sys.stdout.write('said'); ask()",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_ends_with_143_and_leaves_nothing_half_done(moment, tmp_path):
    code = f"{START}{MOMENTS[moment]}\nprint('it went on')"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file.txt")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 143, ended.stderr
    assert "the same command goes on" in ended.stderr
    assert ended.stdout == ("said" if moment == "output waits to be written" else "")
    assert not any(tmp_path.iterdir())


def test_workers_are_ended_before_their_files_are_removed(tmp_path):
    code = f"""{START}
def write(folder):
    number = 0
    while True:
        number += 1
        (folder / str(number)).touch()
import shutil
target.mkdir()
with half_done(lambda: shutil.rmtree(target)):
    multiprocessing.get_context("fork").Process(target=write, args=(target,)).start()
    while not any(target.iterdir()):
        time.sleep(0.01)
    ask()
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "made")], cwd=ROOT, timeout=60)
    assert ended.returncode == 143
    assert not any(tmp_path.iterdir())


# Module-level objects are destroyed when Python has taken the handlers away.
LAST = """
import functools
class Last:
    def __del__(self, ask=functools.partial(os.kill, os.getpid(), signal.SIGTERM)):
        ask()
sys.last = Last()
print("done")
"""


@pytest.mark.parametrize(
    ("handler", "code"), [("install()", 0), ("signal.signal(signal.SIGTERM, print)", -signal.SIGTERM)]
)
def test_a_process_that_is_done_is_not_said_to_be_killed(handler, code, tmp_path):
    command = [sys.executable, "-c", START.replace("install()", handler) + LAST, str(tmp_path / "file.txt")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (code, "done\n"), ended.stderr
