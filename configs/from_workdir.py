"""The config that a workdir keeps; ``run.py --workdir RUN`` uses it where no --config is given."""

from pathlib import Path

from ml_collections import ConfigDict

from aqa_jax import bundle, config


def get_config(workdir: str) -> ConfigDict:
    """The config of the run in ``workdir``, or in a bundle."""
    if bundle.is_bundle(Path(workdir)):
        return bundle.read_config(Path(workdir))
    return config.read_json(Path(workdir) / "config.json")
