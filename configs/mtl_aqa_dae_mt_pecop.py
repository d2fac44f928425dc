"""DAE-MT on MTL-AQA, from PECoP's adapters.

    python run.py --config configs/mtl_aqa_dae_mt_pecop.py --config.data.raw_dir=MTL-AQA \\
        --config.model.weights=model_rgb.pth --config.adapter.file=runs/pecop_mtl_aqa \\
        --workdir runs/mtl_aqa_dae_mt_pecop

configs/mtl_aqa_dae_mt.py, on another dialect of I3D and with adapters. ``:plain`` after the file's name is the same
without adapters. PECoP's published figures, Spearman's rho .9372 against .9273 without pretraining, are those of
another head, MUSDL's: this config does not reproduce them.
"""

from ml_collections import ConfigDict

from configs import mtl_aqa_dae_mt, pecop


def get_config(start: str = "pecop") -> ConfigDict:
    """The config; ``start`` is pecop or plain."""
    return pecop.fine_tuned(mtl_aqa_dae_mt.get_config(), start)
