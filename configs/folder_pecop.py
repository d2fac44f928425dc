"""PECoP's adapters, pretrained without labels on a folder of your own videos: docs/your_own_data.md.

    python run.py --config configs/folder_pecop.py --config.data.raw_dir=my_videos --workdir runs/mine_pecop

All videos but those that configs/folder.py will test on, with a score or without; ``--config.data.options=table=none``
needs no csv at all. ``small`` or ``i3d`` after the colon as in configs/folder.py, and the same for both.
"""

from ml_collections import ConfigDict

from configs import folder, pecop


def get_config(size: str = "small") -> ConfigDict:
    """The config; ``size`` is small or i3d."""
    pecop.check(size, folder.SIZES)
    config = folder.videos(pecop.get_config(), size)
    config.data.training_split = "all"
    config.evaluate.selection = "last"
    if size == "small":
        config.data.repeats = 1
        config.vspp.dropout = 0.1
        config.optimizer.name = "adam"
        config.optimizer.learning_rate = 4e-3
        config.optimizer.weight_decay = 0.0
        config.optimizer.final_fraction = 0.01
        config.optimizer.cosine_length = 1.0
        config.optimizer.warmup_steps = 30
        config.optimizer.clip_norm = 1.0
        config.train.steps = 300
        config.train.evaluate_every = 300
        config.evaluate.batch_size = 32
        config.evaluate.views = 2
    return config
