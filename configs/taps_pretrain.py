"""PECoP's continual pretraining on rendered finger taps, without their labels, from the starter backbone.

    python run.py --config configs/taps_pretrain.py --workdir runs/taps_pecop

What is trained beside the two heads of the pretext task is up to two keys: here 3D-Adapters; everything with
``--config.adapter.kind=none --config.train.trainable=all`` (HPT); nothing, so that batch normalisation's statistics
alone follow the new videos, with ``trainable=head``. scripts/pecop_study.py compares them.
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config


def get_config() -> ConfigDict:
    """The config."""
    config = default_config()
    config.task = "vspp"
    config.data.builder = "synthetic_taps"
    config.data.training_split = "train+unlabelled"
    config.data.clip_length = 32
    config.data.crop = 32
    config.data.random_crop = True
    config.data.validation_fraction = 0.1
    config.model.dialect = "pecop"
    config.model.width = 0.25
    config.model.weights = "starter"
    config.model.batch_norm = "batch"
    config.adapter.kind = "3d"
    config.train.trainable = "adapters"
    config.vspp.dropout = 0.1
    config.optimizer.learning_rate = 4e-3
    config.optimizer.weight_decay = 0.0
    config.optimizer.schedule = "cosine"
    config.optimizer.final_fraction = 0.01
    config.optimizer.warmup_steps = 30
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 16
    config.train.steps = 300
    config.train.evaluate_every = 300
    config.evaluate.batch_size = 32
    config.evaluate.views = 2
    return config
