"""USDL on JIGSAWS (Tang et al., CVPR 2020), one task.

    python run.py --config configs/jigsaws_usdl.py --config.data.raw_dir=JIGSAWS \\
        --config.data.options=task=Knot_Tying --config.model.weights=rgb_i3d_pretrained.pt --mode crossval \\
        --config.crossval.protocol=fourfold --workdir runs/jigsaws_usdl_knot_tying

The authors' log, Spearman's rho, mean of four folds and of the last ten epochs: Suturing .564, Needle Passing .630,
Knot Tying .561. Suturing if nothing else is said, and without ``--mode crossval`` fold 0 alone.

The settings are theirs: 160 frames spread over the video, ten clips of 16, no augmentation, Adam, batch 4, 80 epochs,
batch statistics in training, 25 bins from 6 to 30, soft labels one bin wide, and the likeliest bin is the prediction.
"""

from ml_collections import ConfigDict

from configs import jigsaws_regression


def get_config() -> ConfigDict:
    """The config."""
    config = jigsaws_regression.get_config()
    config.evaluate.point = "mode"
    config.head.name = "usdl"
    config.head.bins = 25
    config.head.lowest = 6.0
    config.head.highest = 30.0
    config.head.label_std = 1.0
    return config
