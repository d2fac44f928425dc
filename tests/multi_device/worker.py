"""Run as a process of its own: trains a tiny config on however many devices it finds, and prints what it saw.

worker.py WORKDIR DATA_DIR [COORDINATOR PROCESSES PROCESS]

With several processes SIGTERM reaches the last one alone, before its fourth step; then the same training goes on, and
the last one alone finds the checkpoint that was saved on that occasion damaged.
"""

import json
import os
import signal
import sys
from pathlib import Path
from unittest import mock

import jax


def main() -> None:
    workdir, data_dir, *cluster = sys.argv[1:]
    if cluster:
        jax.distributed.initialize(cluster[0], int(cluster[1]), int(cluster[2]))

    from absl import flags

    from aqa_jax import config as config_lib
    from aqa_jax.train import loop
    from aqa_jax.train.final import evaluate_run
    from aqa_jax.train.log import read_log
    from tests.tiny import tiny_config

    flags.FLAGS.mark_as_parsed()
    config = config_lib.resolve(tiny_config(data_dir))
    stopped = interrupted(loop, config, Path(workdir)) if cluster else ""
    with damaged_here(stopped):
        run = loop.train(config, Path(workdir))
    content = evaluate_run(run, Path(workdir), Path(workdir) / "evaluation")
    losses = [line["loss"] for line in read_log(Path(workdir) / "logs") if "loss" in line]
    rho = content["metrics"]["rho"]
    print(json.dumps({"devices": jax.device_count(), "losses": losses, "rho": rho, "stopped": stopped}))


def last() -> bool:
    return jax.process_index() == jax.process_count() - 1


def interrupted(loop, config, workdir: Path) -> str:
    """What ends a training of which the last process gets SIGTERM."""
    from aqa_jax.errors import Interrupted

    taken = []

    def take(self, busy, _take=loop.Feed.take):
        taken.append(busy)
        if last() and len(taken) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return _take(self, busy)

    with mock.patch.object(loop.Feed, "take", take):
        try:
            loop.train(config, workdir)
        except Interrupted as error:
            return str(error)
    return "it was not"


def damaged_here(stopped: str):
    """While inside, the last process finds the checkpoint that ``stopped`` names damaged."""
    from aqa_jax.train import manifest

    def faults(directory, *arguments, _faults=manifest.faults):
        named = last() and f"step {directory.name} of" in stopped
        return ["a bit fell over"] if named else _faults(directory, *arguments)

    return mock.patch.object(manifest, "faults", faults)


if __name__ == "__main__":
    main()
