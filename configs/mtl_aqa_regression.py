"""Plain regression on MTL-AQA: the baseline without a distribution; no row of a table is claimed for it.

    python run.py --config configs/mtl_aqa_regression.py --config.data.raw_dir=MTL-AQA \\
        --config.model.weights=rgb_imagenet.pt --workdir runs/mtl_aqa_regression

As configs/mtl_aqa_dae.py, but the head predicts one number, trained by the squared error, and one sigma is learnt for
all videos: what the other heads' sigmas must beat.
"""

from ml_collections import ConfigDict

from configs import mtl_aqa_dae


def get_config() -> ConfigDict:
    """The config."""
    config = mtl_aqa_dae.get_config()
    config.head.name = "regression"
    return config
