"""DAE-MT on MTL-AQA (arXiv 2111.11029: Spearman's rho .9452).

    python run.py --config configs/mtl_aqa_dae_mt.py --config.data.raw_dir=MTL-AQA \\
        --config.model.weights=rgb_imagenet.pt --workdir runs/mtl_aqa_dae_mt

As configs/mtl_aqa_dae.py, but the head regresses the judges' part of the score, and the difficulty is given.
"""

from ml_collections import ConfigDict

from configs import mtl_aqa_dae


def get_config() -> ConfigDict:
    """The config."""
    config = mtl_aqa_dae.get_config()
    config.head.name = "dae_mt"
    return config
