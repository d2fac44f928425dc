"""PECoP's continual pretraining on MTL-AQA (WACV 2024, arXiv 2311.07603).

    python run.py --config configs/pecop_mtl_aqa.py --config.data.raw_dir=MTL-AQA \\
        --config.model.weights=model_rgb.pth --workdir runs/pecop_mtl_aqa

``:code`` and ``:hpt`` after the file's name are other settings than the paper's: see configs/pecop.py.
configs/mtl_aqa_dae_mt_pecop.py goes on from the adapters.
"""

from ml_collections import ConfigDict

from configs import pecop


def get_config(variant: str = "paper") -> ConfigDict:
    """The config; ``variant`` is paper, code or hpt."""
    config = pecop.get_config(variant)
    config.data.builder = "mtl_aqa"
    return config
