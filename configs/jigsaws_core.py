"""CoRe on JIGSAWS, one task: Spearman's rho .85, mean of the tasks, in the tables of later papers.

    python run.py --config configs/jigsaws_core.py --config.data.raw_dir=JIGSAWS \\
        --config.data.options=task=Knot_Tying --config.model.weights=model_rgb.pth --mode crossval \\
        --config.crossval.protocol=fourfold --workdir runs/jigsaws_core_knot_tying

Suturing if nothing else is said. The input is configs/jigsaws_regression.py's (MUSDL's: 160 frames spread over the
video, ten clips of 16, no augmentation), head and optimizer are those of configs/mtl_aqa_core.py, but without a
difficulty: scores are compared as they are, with ten exemplars drawn at random from the training videos. CoRe's authors
released nothing for JIGSAWS. The last step counts, for no videos are held out.

PECoP's table has .89 for its adapters under this head and .80 after pretraining of the whole network:
``--config.data.test_where=fold=2 --config.adapter.kind=3d
--config.adapter.file=runs/pecop_jigsaws_knot_tying_2`` in place of crossval, for each task and fold.
"""

from ml_collections import ConfigDict

from configs import jigsaws_regression, mtl_aqa_core


def get_config() -> ConfigDict:
    """The config."""
    config = mtl_aqa_core.paired(jigsaws_regression.get_config())
    config.model.dialect = "pecop"
    config.model.batch_norm = "frozen"
    config.head.times_difficulty = False
    config.head.exemplars_by = "random"
    return config
