"""PECoP's continual pretraining on rendered finger taps, without their labels, from the starter backbone.

    python run.py --config configs/taps_pretrain.py --workdir runs/taps_pecop

One word after a colon (``configs/taps_pretrain.py:hpt``) says what is trained beside the two heads of the pretext task:

- ``pecop`` (default): 3D-Adapters;
- ``hpt``: the whole backbone, without adapters;
- ``statistics``: nothing; the running statistics of batch normalisation move to the new videos, as in all of these;
- ``untrained``: nothing, with adapters as they were drawn.
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config

ARMS = {
    "pecop": ("3d", "adapters"),
    "hpt": ("none", "all"),
    "statistics": ("none", "head"),
    "untrained": ("3d", "head"),
}


def get_config(arm: str = "pecop") -> ConfigDict:
    """The config; ``arm`` is a key of ``ARMS``."""
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
    config.adapter.kind, config.train.trainable = ARMS[arm]
    config.vspp.dropout = 0.1
    config.optimizer.learning_rate = 4e-3
    config.optimizer.weight_decay = 0.0
    config.optimizer.schedule = "cosine"
    config.optimizer.final_fraction = 0.01
    config.optimizer.warmup_steps = 30
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 16
    config.train.steps = 600
    config.train.evaluate_every = 100
    config.evaluate.batch_size = 32
    return config
