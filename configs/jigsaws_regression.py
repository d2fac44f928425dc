"""Plain regression on JIGSAWS, one task: the baseline; no row of a table is claimed for it.

    python run.py --config configs/jigsaws_regression.py --config.data.raw_dir=JIGSAWS \\
        --config.data.options=task=Knot_Tying --config.model.weights=rgb_i3d_pretrained.pt --mode crossval \\
        --config.crossval.protocol=fourfold --workdir runs/jigsaws_regression_knot_tying

Suturing if nothing else is said, and without ``--mode crossval`` fold 0 alone. Input and optimizer are MUSDL's, as
configs/jigsaws_dae.py says; I3D without adapters.
"""

from ml_collections import ConfigDict

from configs import jigsaws_dae


def get_config() -> ConfigDict:
    """The config."""
    config = jigsaws_dae.get_config("plain")
    config.model.dialect = "piergiaj"
    config.head.name = "regression"
    return config
