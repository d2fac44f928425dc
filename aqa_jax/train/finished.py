"""Which runs lie in a folder, and whether they are whole. Imports no jax: scoring looks here first."""

import json
from pathlib import Path

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.errors import ConfigError

TRAINED_ON = "aqa_jax.trained_on/1"
"""Schema of ``trained_on.json``: what a run's folder says of its training data (`aqa_jax.train.run.Run.trained_on`)."""


def is_finished(folder: Path, config: Config) -> bool:
    """Whether the run in ``folder`` is whole and was made with ``config``."""
    try:
        kept = config_lib.resolve(config_lib.read_json(folder / "config.json"))
        made_with = json.loads((folder / "evaluation" / "metrics.json").read_text())["config_hash"]
    except (ConfigError, OSError, ValueError, KeyError, TypeError):
        return False
    return config_lib.fingerprint(kept) == made_with == config_lib.fingerprint(config)


def is_crossval(workdir: Path) -> bool:
    """Whether ``workdir`` holds a cross-validation, as far as that may be."""
    return not (workdir / "checkpoints").exists() and any(workdir.glob("fold_*/seed_*"))


def finished_runs(workdir: Path) -> list[Path]:
    """The workdirs of the finished runs of a cross-validation, in the order of their names."""
    found = []
    for path in sorted(workdir.glob("fold_*/seed_*/config.json")):
        if is_finished(path.parent, config_lib.resolve(config_lib.read_json(path))):
            found.append(path.parent)
    return found
