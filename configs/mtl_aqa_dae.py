"""DAE on MTL-AQA (arXiv 2111.11029: Spearman's rho .9231).

    python run.py --config configs/mtl_aqa_dae.py --config.data.raw_dir=MTL-AQA \\
        --config.model.weights=rgb_imagenet.pt --workdir runs/mtl_aqa_dae

The settings are the authors': 103 frames, ten clips of 16, all of I3D and the head under Adam, batch 8,
100 epochs. The step is chosen on validation videos of other competitions; the papers' protocol is in
docs/reproduce.md.
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config


def get_config() -> ConfigDict:
    """The config: the defaults are DAE's."""
    config = default_config()
    config.data.builder = "mtl_aqa"
    config.evaluate.batch_size = 32
    return config
