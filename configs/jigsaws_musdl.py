"""MUSDL on JIGSAWS (Tang et al., CVPR 2020), one task.

    python run.py --config configs/jigsaws_musdl.py --config.data.raw_dir=JIGSAWS \\
        --config.data.options=task=Knot_Tying --config.model.weights=rgb_i3d_pretrained.pt --mode crossval \\
        --config.crossval.protocol=fourfold --workdir runs/jigsaws_musdl_knot_tying

The authors' log, Spearman's rho, mean of four folds and of the last ten epochs: Suturing .676, Needle Passing .656,
Knot Tying .741. PECoP's table, mean of the tasks: .70 without pretraining, .72 after that of the whole network, .76
with its adapters, which are trained for each task and fold: ``--config.data.test_where=fold=2
--config.adapter.kind=3d --config.adapter.file=runs/pecop_jigsaws_knot_tying_2 --config.model.dialect=pecop
--config.model.weights=model_rgb.pth`` in place of crossval.

As configs/jigsaws_usdl.py, but each of six heads predicts an item of the rating, in five bins from 1 to 5, and the
likeliest ones are added.
"""

from ml_collections import ConfigDict

from configs import jigsaws_usdl


def get_config() -> ConfigDict:
    """The config."""
    config = jigsaws_usdl.get_config()
    config.head.name = "musdl"
    config.head.panel = "sum"
    config.head.bins = 5
    config.head.lowest = 1.0
    config.head.highest = 5.0
    return config
