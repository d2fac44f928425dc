"""DAE on JIGSAWS, one task and one fold, from PECoP's adapters.

    python run.py --config configs/jigsaws_dae.py --config.data.raw_dir=JIGSAWS \\
        --config.data.options=task=Knot_Tying --config.data.test_where=fold=2 --config.model.weights=model_rgb.pth \\
        --config.adapter.file=runs/pecop_jigsaws_knot_tying_2 --workdir runs/jigsaws_dae_knot_tying_2

Suturing and fold 0 if nothing else is said. ``test_where`` takes other partitions too: ``trial=1`` (leave one
super-trial out), ``group=B`` (leave one surgeon out). ``:plain`` after the file's name is I3D without adapters.

Input and optimizer are MUSDL's: 160 frames spread over the video, ten clips of 16, no augmentation, Adam, batch 4, 80
epochs, batch statistics in training. Three folds are about 27 videos: none are held out to choose a step, the last one
counts. Published, mean of the tasks and folds, Spearman's rho: DAE .72 (quoted by others), and with other heads than
this one PECoP's .76 (MUSDL's head; .70 without pretraining) and .89 (CoRe's).
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config
from configs import pecop


def get_config(start: str = "pecop") -> ConfigDict:
    """The config; ``start`` is pecop or plain."""
    config = default_config()
    config.data.builder = "jigsaws"
    config.data.options = "task=Suturing"
    config.data.test_where = "fold=0"
    config.data.window = 160
    config.data.window_mode = "linspace"
    config.data.clip_starts = tuple(range(0, 160, 16))
    config.data.max_shift = 0
    config.data.flip = False
    config.data.validation_fraction = 0.0
    config.model.batch_norm = "batch"
    config.optimizer.weight_decay = 0.0
    config.train.batch_size = 4
    config.train.epochs = 80.0
    config.evaluate.selection = "last"
    return pecop.fine_tuned(config, start)
