"""A run of a tiny network with random weights: three segments of eight frames at 32 pixels."""

from aqa_jax import config as config_lib
from benchmarks.predict import untrained_run
from tests.tiny import tiny_config

CHANGES = {
    "head.name": "dae", "evaluate.selection": "last", "data.window": 12, "data.clip_length": 8,
    "data.clip_starts": (0, 2, 4), "data.crop": 32,
}  # fmt: skip


def configured(**changes):
    """The run's config, with changes by dotted key."""
    return config_lib.resolve(tiny_config("nowhere", **(CHANGES | changes)))


def make(folder):
    """Writes the run."""
    untrained_run(tiny_config("nowhere", **CHANGES), folder, frame_size=(40, 48))
    return folder
