"""Run as a process of its own: trains a tiny config on however many devices it finds, and prints what it saw.

worker.py WORKDIR DATA_DIR [COORDINATOR PROCESSES PROCESS]
"""

import json
import sys
from pathlib import Path

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
    run = loop.train(config, Path(workdir))
    content = evaluate_run(run, Path(workdir), Path(workdir) / "evaluation")
    if jax.process_index() == 0:
        losses = [line["loss"] for line in read_log(Path(workdir) / "logs") if "loss" in line]
        print(json.dumps({"devices": jax.device_count(), "losses": losses, "rho": content["metrics"]["rho"]}))


if __name__ == "__main__":
    main()
