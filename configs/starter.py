"""The starter backbone: a small I3D that has seen generic rendered motion, where nobody has the Kinetics file.

    python run.py --config configs/starter.py --workdir runs/starter
    python run.py --config configs/starter.py --mode import_weights --weights runs/starter --output runs/starter_export

Regresses the parameters of rendered sprites' motion (turning, drifting, swaying, pulsing, bending, pausing). The second
command's ``weights.safetensors`` is what lies in ``aqa_jax/starter/``, beside the log of this training.
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config


def get_config() -> ConfigDict:
    """The config."""
    config = default_config()
    config.task = "motion"
    config.data.builder = "synthetic_motion"
    config.data.window = 32
    config.data.clip_starts = (0, 16)
    config.data.max_shift = 4
    config.data.crop = 32
    # A mirrored sprite drifts and turns the other way: the targets would be wrong.
    config.data.flip = False
    config.data.validation_fraction = 0.05
    config.data.validation_by = "video"
    config.model.dialect = "hassony2"
    config.model.width = 0.25
    config.model.batch_norm = "batch"
    config.motion.columns = (
        "turn_rate", "turn_change", "turn_wave_rate", "turn_wave_depth", "pause_length", "velocity_x", "velocity_y",
        "acceleration", "sway_rate", "sway_size", "sway_horizontal", "pulse_rate", "pulse_size", "bend_rate",
        "bend_size", "direction", "length",
    )  # fmt: skip
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.0
    config.optimizer.schedule = "cosine"
    config.optimizer.final_fraction = 0.01
    config.optimizer.warmup_steps = 50
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 8
    config.train.steps = 9000
    config.train.evaluate_every = 500
    config.train.log_every = 25
    config.evaluate.batch_size = 16
    return config
