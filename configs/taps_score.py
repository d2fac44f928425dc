"""Severity of finger tapping from 64 labelled rendered videos.

    python run.py --config configs/taps_score.py --workdir runs/taps_score

Starts from the starter backbone; after ``configs/taps_pretrain.py`` from its adapters:

    python run.py --config configs/taps_score.py --config.adapter.kind=3d --config.adapter.file=runs/taps_pecop \\
        --workdir runs/taps_score_pecop

Every fourth frame of five seconds, one clip a video. With so few labels none are held out to choose a step: the last
one counts.
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config


def get_config() -> ConfigDict:
    """The config."""
    config = default_config()
    config.data.builder = "synthetic_taps"
    config.data.window = 125
    config.data.clip_length = 32
    config.data.clip_starts = (0,)
    config.data.clip_stride = 4
    config.data.max_shift = 35
    config.data.crop = 32
    config.data.random_crop = True
    config.data.validation_fraction = 0.0
    config.model.dialect = "pecop"
    config.model.width = 0.25
    config.model.weights = "starter"
    # As DAE. On batch statistics, those of the pretraining would be forgotten, and a comparison of them void.
    config.model.batch_norm = "frozen"
    config.head.alpha = 0.5
    config.head.beta = 0.5
    config.head.warmup_fraction = 0.5
    config.head.mse_weight = 0.5
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.0
    config.optimizer.schedule = "cosine"
    config.optimizer.final_fraction = 0.01
    config.optimizer.warmup_steps = 20
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 8
    config.train.steps = 240
    config.train.evaluate_every = 240
    config.evaluate.batch_size = 16
    config.evaluate.selection = "last"
    return config
