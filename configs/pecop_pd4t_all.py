"""PECoP's continual pretraining on all four tasks of PD4T together (not in the paper, which takes them one by one).

    python run.py --config configs/pecop_pd4t_all.py --config.data.raw_dir=PD4T \\
        --config.model.weights=model_rgb.pth --workdir runs/pecop_pd4t_all

A patient may be tested in one task and trained on in another: the training videos of such patients are left out, by
name. ``:code`` and ``:hpt`` after the file's name are other settings than the paper's: see configs/pecop.py.
"""

from ml_collections import ConfigDict

from configs import pecop


def get_config(variant: str = "paper") -> ConfigDict:
    """The config; ``variant`` is paper, code or hpt."""
    config = pecop.get_config(variant)
    config.data.builder = "pd4t"
    config.data.options = "task=all,leak=exclude"
    return config
