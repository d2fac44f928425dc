"""DAE-MT on rendered dives, from nothing to scored videos in minutes on a laptop.

    python run.py --config configs/quickstart.py --workdir runs/quickstart

Builds the dataset, fine-tunes from the starter backbone, evaluates, and scores rendered video files.
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config


def get_config() -> ConfigDict:
    """The config."""
    config = default_config()
    config.data.builder = "synthetic_dives"
    config.data.window = 32
    config.data.clip_starts = (0, 16)
    config.data.max_shift = 4
    config.data.crop = 32
    config.model.dialect = "hassony2"
    config.model.width = 0.25
    config.model.weights = "starter"
    config.model.batch_norm = "batch"
    config.head.name = "dae_mt"
    # Equal weights: the likelihood itself. DAE's .6 and .4 widen sigma by the root of 1.5.
    config.head.alpha = 0.5
    config.head.beta = 0.5
    config.head.warmup_fraction = 0.34
    config.head.mse_weight = 0.3
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.0
    config.optimizer.schedule = "cosine"
    config.optimizer.final_fraction = 0.01
    config.optimizer.warmup_steps = 50
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 8
    config.train.steps = 1600
    config.train.evaluate_every = 200
    config.evaluate.batch_size = 16
    config.evaluate.track_test = True
    config.predict.samples = 6
    return config
