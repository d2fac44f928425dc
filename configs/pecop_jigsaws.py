"""PECoP's continual pretraining on JIGSAWS (WACV 2024, arXiv 2311.07603), one task and one fold.

    python run.py --config configs/pecop_jigsaws.py --config.data.raw_dir=JIGSAWS \\
        --config.data.options=task=Knot_Tying --config.data.test_where=fold=2 \\
        --config.model.weights=model_rgb.pth --workdir runs/pecop_jigsaws_knot_tying_2

Suturing and fold 0 if nothing else is said; the other task is Needle_Passing. The videos of the fold that will be
tested are not pretrained on either, so each of MUSDL's four folds has adapters of its own. Three folds are about 27
videos: none are held out to choose a step, the last one counts. ``:code`` and ``:hpt`` after the file's name are other
settings than the paper's: see configs/pecop.py. configs/jigsaws_dae.py goes on from the adapters.
"""

from ml_collections import ConfigDict

from configs import pecop


def get_config(variant: str = "paper") -> ConfigDict:
    """The config; ``variant`` is paper, code or hpt."""
    config = pecop.get_config(variant)
    config.data.builder = "jigsaws"
    config.data.options = "task=Suturing"
    config.data.test_where = "fold=0"
    config.data.validation_fraction = 0.0
    config.evaluate.selection = "last"
    return config
