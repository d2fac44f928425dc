"""DAE-CoRe on MTL-AQA (arXiv 2111.11029): Spearman's rho .9589, with the difficulty given.

    python run.py --config configs/mtl_aqa_dae_core.py --config.data.raw_dir=MTL-AQA \\
        --config.model.weights=model_rgb.pth --workdir runs/mtl_aqa_dae_core

As configs/mtl_aqa_core.py, but a DAE predicts mean and variance of the relative score in place of the tree, and the
mean of the ten votes counts. No code was released: DAE's loss and layers, and CoRe's settings, are what is known.
"""

from ml_collections import ConfigDict

from configs import mtl_aqa_core


def get_config() -> ConfigDict:
    """The config."""
    return dae_in_place_of_the_tree(mtl_aqa_core.get_config())


def dae_in_place_of_the_tree(config: ConfigDict) -> ConfigDict:
    """``config``, a run of CoRe, with DAE-CoRe's head."""
    config.head.name = "dae_core"
    config.head.standardise = True
    config.evaluate.point = "mean"
    return config
