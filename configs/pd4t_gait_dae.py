"""DAE on PD4T, gait, from PECoP's adapters.

    python run.py --config configs/pd4t_gait_dae.py --config.data.raw_dir=PD4T \\
        --config.model.weights=model_rgb.pth --config.adapter.file=runs/pecop_pd4t_gait \\
        --workdir runs/pd4t_gait_dae

Seven clips of 16 frames, every third frame of a window of 322; configs/pd4t_all_dae.py says where the window lies.
``:plain`` after the file's name is I3D without adapters. PECoP's published figure for gait, Spearman's rho
.8233, is that of another head, CoRe's, with clips of its own: this config does not reproduce it.
"""

from ml_collections import ConfigDict

from configs import pd4t_all_dae


def get_config(start: str = "pecop") -> ConfigDict:
    """The config; ``start`` is pecop or plain."""
    config = pd4t_all_dae.get_config(start)
    config.data.options = "task=gait"
    # The shortest video has 325 frames. A clip spans 46, at the rate of configs/pecop_pd4t_gait.py.
    config.data.clip_stride = 3
    config.data.clip_starts = tuple(range(0, 322, 46))
    config.data.window = 322
    return config
