"""MUSDL on MTL-AQA (Tang et al., CVPR 2020): Spearman's rho .9273, R-l2 .451 in the tables of later papers.

    python run.py --config configs/mtl_aqa_musdl.py --config.data.raw_dir=MTL-AQA \\
        --config.model.weights=rgb_i3d_pretrained.pt --workdir runs/mtl_aqa_musdl

The authors' log has .9306 at the epoch that is best on the test split and .9027 at the last one. As
configs/mtl_aqa_usdl.py, but each of seven heads predicts a judge's mark, in 21 bins from 0 to 10; the middle three of
the likeliest marks are added and multiplied by the difficulty, which is given.

PECoP's table has .9273 for this head without pretraining, .9349 after that of the whole network and .9372 with its
adapters: ``--config.adapter.kind=3d --config.adapter.file=runs/pecop_mtl_aqa --config.model.dialect=pecop
--config.model.weights=model_rgb.pth``.
"""

from ml_collections import ConfigDict

from configs import mtl_aqa_usdl


def get_config() -> ConfigDict:
    """The config."""
    config = mtl_aqa_usdl.get_config()
    config.head.name = "musdl"
    config.head.panel = "middle3"
    config.head.bins = 21
    config.head.highest = 10.0
    return config
