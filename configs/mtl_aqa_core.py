"""CoRe on MTL-AQA (Yu et al., ICCV 2021): Spearman's rho .9512, R-l2 .260, with the difficulty given.

    python run.py --config configs/mtl_aqa_core.py --config.data.raw_dir=MTL-AQA \\
        --config.model.weights=model_rgb.pth --workdir runs/mtl_aqa_core

The settings are the authors': ten clips of 16, the last from frame 86, random crop, flip and shift of three frames
either way; score / difficulty is regressed, relative to exemplars of the same difficulty, by a tree of 16 leaves; Adam,
learning rate 1e-3 for the head and 1e-4 for I3D, two batches of one pair an update, 200 epochs; statistics frozen;
ten exemplars vote, and the likeliest leaf's score counts. An epoch has every video once as the first of a pair. Theirs
draws new exemplars for every test video; here a difficulty's ten are drawn once, by the seed. Without the difficulty
(.9341): ``--config.head.exemplars_by=random --config.head.times_difficulty=False --config.head.score_scale=100``, whose
scale is a guess. Exemplars of the same dive number: ``--config.head.exemplars_by=dive_number``.

The step is chosen on validation videos of other competitions, their epoch on the test split: docs/reproduce.md.
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config


def get_config() -> ConfigDict:
    """The config."""
    config = default_config()
    config.data.builder = "mtl_aqa"
    config.data.clip_starts = (0, 10, 20, 30, 40, 50, 60, 70, 80, 86)
    config.data.random_crop = True
    config.model.dialect = "pecop"
    config.evaluate.batch_size = 32
    return paired(config)


def paired(config: ConfigDict) -> ConfigDict:
    """``config`` with CoRe's head, optimizer and length of training."""
    config.head.name = "core"
    # The tree's units are its own: raw scores, as in the authors' checkpoints.
    config.head.standardise = False
    config.optimizer.learning_rate = 1e-4
    config.optimizer.head_multiplier = 10.0
    config.optimizer.weight_decay = 0.0
    config.optimizer.accumulate = 2
    config.train.batch_size = 2
    config.train.epochs = 200.0
    config.evaluate.point = "mode"
    return config
