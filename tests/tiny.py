"""The quickstart's own config, shrunk until it trains in seconds."""

from pathlib import Path

from ml_collections import ConfigDict

from configs import quickstart

STEPS = 12


def tiny_config(data_dir: Path | str, **changes) -> ConfigDict:
    """40 training and 20 test dives, a network of width .05, twelve steps; ``changes`` by dotted key."""
    config = quickstart.get_config()
    settings = {
        "data.data_dir": str(data_dir),
        "data.options": "train_videos=40,test_videos=20",
        "data.validation_fraction": 0.2,
        "model.width": 0.05,
        # Two of nine Inception modules: compiled in a third of the time.
        "model.final_endpoint": "Mixed_3c",
        "model.weights": "",
        # Frozen statistics: batch statistics of eight tiny videos make the loss jump.
        "model.batch_norm": "frozen",
        "train.batch_size": 8,
        # The number of steps is part of the compiled program: tests that share it share the compilation.
        "train.steps": STEPS,
        "train.evaluate_every": 3,
        "train.log_every": 1,
        "optimizer.warmup_steps": 0,
        "evaluate.bootstrap": 50,
        "predict.samples": 0,
    }
    config.update_from_flattened_dict(settings | changes)
    return config


def command_line(data_dir: Path | str, **changes) -> list[str]:
    """The same as arguments of run.py."""
    config = tiny_config(data_dir, **changes)
    reference = quickstart.get_config()
    arguments = ["--config", str(Path(quickstart.__file__))]
    for key, value in _leaves(config):
        if value != dict(_leaves(reference))[key]:
            arguments.append(f"--config.{key}={value}")
    return arguments


def _leaves(config: ConfigDict, prefix: str = ""):
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
