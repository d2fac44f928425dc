"""Verifies a run, or data."""

from pathlib import Path

from aqa_jax.config import Config
from aqa_jax.errors import ConfigError
from aqa_jax.modes.request import Request


def run(request: Request) -> int:
    """Verifies the run in ``--workdir``, or without one the data of ``--config``; 1 if something is wrong."""
    workdir = request.workdir
    if workdir.is_file():
        raise ConfigError(f"{workdir} is a bundle: --mode inspect --weights {workdir} verifies and describes it.")
    if any((workdir / name).exists() for name in ("config.json", "checkpoints")):
        from aqa_jax.check import run as runs

        return runs.check(workdir)
    # An empty --workdir is the path ".".
    if workdir != Path():
        raise ConfigError(f"{workdir} is no run: there is neither a config.json nor a folder checkpoints.")
    if request.config == Config():
        raise ConfigError("--mode check needs the --workdir of a run, or --config configs/NAME.py to check its data.")
    from aqa_jax.check import data

    return data.check(request.config, request.output)
