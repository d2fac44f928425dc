"""DAE-CoRe on JIGSAWS, one task: Spearman's rho .86, mean of the tasks, quoted by later papers.

    python run.py --config configs/jigsaws_dae_core.py --config.data.raw_dir=JIGSAWS \\
        --config.data.options=task=Knot_Tying --config.model.weights=model_rgb.pth --mode crossval \\
        --config.crossval.protocol=fourfold --workdir runs/jigsaws_dae_core_knot_tying

As configs/jigsaws_core.py, with configs/mtl_aqa_dae_core.py's head.
"""

from ml_collections import ConfigDict

from configs import jigsaws_core, mtl_aqa_dae_core


def get_config() -> ConfigDict:
    """The config."""
    return mtl_aqa_dae_core.dae_in_place_of_the_tree(jigsaws_core.get_config())
