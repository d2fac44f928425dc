"""A run as one file, to be scored with anywhere: ``--mode export`` writes it, ``--workdir FILE.aqa`` takes it."""

from pathlib import Path
from typing import TYPE_CHECKING

from aqa_jax.bundle.reader import describe, is_bundle, read_config
from aqa_jax.config import Config

if TYPE_CHECKING:
    from aqa_jax.predict.scorer import RunScorer

__all__ = ["describe", "is_bundle", "open_bundle", "read_config"]


def open_bundle(path: Path, config: Config | None = None) -> "RunScorer":
    """A scorer of the model in a bundle: see :func:`aqa_jax.bundle.scorer.open_bundle`."""
    # A config is read before jax is there.
    from aqa_jax.bundle.scorer import open_bundle

    return open_bundle(path, config)
