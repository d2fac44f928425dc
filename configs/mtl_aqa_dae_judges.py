"""DAE judge heads on MTL-AQA: MUSDL's panel (Spearman's rho .9273) with a score distribution for each judge.

    python run.py --config configs/mtl_aqa_dae_judges.py --config.data.raw_dir=MTL-AQA \\
        --config.model.weights=rgb_imagenet.pt --workdir runs/mtl_aqa_dae_judges

As configs/mtl_aqa_dae_mt.py, but the seven judges' marks are learnt jointly, and how far the judges of a dive lie apart
teaches the spread. No figure of this combination is published.
"""

from ml_collections import ConfigDict

from configs import mtl_aqa_dae


def get_config() -> ConfigDict:
    """The config."""
    config = mtl_aqa_dae.get_config()
    config.head.name = "dae_judges"
    # The likelihood itself: DAE's weights of .6 and .4 widen sigma by the root of 1.5.
    config.head.alpha = 0.5
    config.head.beta = 0.5
    return config
