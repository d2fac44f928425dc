"""Four virtual devices, and two processes of two, against one device: the same losses, the same predictions.

Each training runs in a process of its own, for the number of devices is fixed when jax is imported.
"""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.tiny import STEPS

ROOT = Path(__file__).parents[2]


def start(devices: int, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    lines = [line for line in out.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {}


def predictions(workdir: Path) -> dict[str, float]:
    with (workdir / "evaluation" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == len(rows) == 20
    return {row["id"]: float(row["mean"]) for row in rows}


def same_losses(ours: dict, theirs: dict) -> None:
    """Equal to 1e-5 over six updates. Training is chaotic: later, Adam has amplified the last bits of the sums."""
    assert len(ours["losses"]) == len(theirs["losses"]) == STEPS
    np.testing.assert_allclose(ours["losses"][:6], theirs["losses"][:6], rtol=1e-5)
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=1e-3)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    return folder, finish(start(1, folder / "run", folder / "data"))


def test_four_devices_give_the_losses_of_one_and_their_checkpoint_goes_on_with_one(one_device, tmp_path):
    folder, expected = one_device
    four = finish(start(4, tmp_path / "run", folder / "data"))
    assert four["devices"] == 4
    same_losses(four, expected)
    ours, theirs = predictions(tmp_path / "run"), predictions(folder / "run")
    np.testing.assert_allclose([ours[k] for k in theirs], list(theirs.values()), rtol=1e-4)
    # Their checkpoints are read by Orbax alone, as docs/operate.md says, on one device.
    with ocp.CheckpointManager((tmp_path / "run" / "checkpoints").resolve()) as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        assert manager.restore(manager.latest_step(), args=args)["state"]["step"] == STEPS
    # The finished checkpoints of four devices are restored and evaluated by one.
    one = finish(start(1, tmp_path / "run", folder / "data"))
    assert one["devices"] == 1
    np.testing.assert_allclose(one["rho"], four["rho"], atol=1e-6)


def test_two_processes_of_two_devices_stop_together_go_on_together_and_evaluate_every_video_once(one_device, tmp_path):
    """SIGTERM reaches one of them, and one of them alone finds what was saved then damaged: see worker.py."""
    folder, expected = one_device
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    # Two devices each: what a host's arrays are to be placed on is then another thing than where they are made.
    both = [start(2, tmp_path / "run", folder / "data", address, 2, i) for i in range(2)]
    results = [finish(process) for process in both]
    assert [result["devices"] for result in results] == [4, 4]
    assert {result["stopped"].partition(";")[0] for result in results} == {f"SIGTERM: step 5 of {STEPS} is saved"}
    assert [path.name for path in (tmp_path / "run" / "damaged_checkpoints").iterdir()] == ["5"]
    same_losses(results[0], expected)
    ours, theirs = predictions(tmp_path / "run"), predictions(folder / "run")
    np.testing.assert_allclose([ours[k] for k in theirs], list(theirs.values()), rtol=1e-4)
    assert sorted(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit())[-1] == STEPS
