"""DAE judge heads on JIGSAWS: a score distribution for each of the six items, one task and one fold.

    python run.py --config configs/jigsaws_dae_judges.py:plain --config.data.raw_dir=JIGSAWS \\
        --config.data.options=task=Knot_Tying --config.model.weights=model_rgb.pth --mode crossval \\
        --config.crossval.protocol=fourfold --workdir runs/jigsaws_dae_judges_knot_tying

Input, optimizer and starts are those of configs/jigsaws_dae.py. DAE-MT's published figure, mean of the tasks and folds,
is a Spearman's rho of .76 (quoted by others); its item heads were not released.
"""

from ml_collections import ConfigDict

from configs import jigsaws_dae


def get_config(start: str = "pecop") -> ConfigDict:
    """The config; ``start`` is pecop or plain."""
    config = jigsaws_dae.get_config(start)
    config.head.name = "dae_judges"
    config.head.panel = "sum"
    config.head.alpha = 0.5
    config.head.beta = 0.5
    return config
