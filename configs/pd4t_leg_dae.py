"""DAE on PD4T, leg agility, from PECoP's adapters.

    python run.py --config configs/pd4t_leg_dae.py --config.data.raw_dir=PD4T \\
        --config.model.weights=model_rgb.pth --config.adapter.file=runs/pecop_pd4t_leg \\
        --workdir runs/pd4t_leg_dae

Eight clips of 16 frames in a window of 128; configs/pd4t_all_dae.py says where the window lies.
``:plain`` after the file's name is I3D without adapters. PECoP's published figure for leg agility, Spearman's rho
.6427, is that of another head, CoRe's, with clips of its own: this config does not reproduce it.
"""

from ml_collections import ConfigDict

from configs import pd4t_all_dae


def get_config(start: str = "pecop") -> ConfigDict:
    """The config; ``start`` is pecop or plain."""
    config = pd4t_all_dae.get_config(start)
    config.data.options = "task=leg"
    return config
