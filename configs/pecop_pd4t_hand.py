"""PECoP's continual pretraining on PD4T, hand movement (WACV 2024, arXiv 2311.07603).

    python run.py --config configs/pecop_pd4t_hand.py --config.data.raw_dir=PD4T \\
        --config.model.weights=model_rgb.pth --workdir runs/pecop_pd4t_hand

``:code`` and ``:hpt`` after the file's name are other settings than the paper's: see configs/pecop.py.
configs/pd4t_hand_dae.py goes on from the adapters.
"""

from ml_collections import ConfigDict

from configs import pecop


def get_config(variant: str = "paper") -> ConfigDict:
    """The config; ``variant`` is paper, code or hpt."""
    config = pecop.get_config(variant)
    config.data.builder = "pd4t"
    config.data.options = "task=hand"
    return config
