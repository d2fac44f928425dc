"""DAE on all four tasks of PD4T together, from PECoP's adapters.

    python run.py --config configs/pd4t_all_dae.py --config.data.raw_dir=PD4T \\
        --config.model.weights=model_rgb.pth --config.adapter.file=runs/pecop_pd4t_all --workdir runs/pd4t_all_dae

Eight clips of 16 frames in a window of 128, which the shortest video of 129 frames allows. In training the window lies
anywhere in a video; in a test four windows spread over the video are averaged. Patients tested in one task and trained
on in another are left out of training, by name. ``:plain`` after the file's name is I3D without adapters. No figure is
published for the tasks together, nor for DAE on PD4T: the settings of the optimizer are DAE's on MTL-AQA.
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config
from configs import pecop

# Longer than any video: the window may start wherever it fits.
ANYWHERE = 20_000


def get_config(start: str = "pecop") -> ConfigDict:
    """The config; ``start`` is pecop or plain."""
    config = default_config()
    config.data.builder = "pd4t"
    config.data.options = "task=all,leak=exclude"
    config.data.window = 128
    config.data.clip_starts = tuple(range(0, 128, 16))
    config.data.max_shift = ANYWHERE
    config.evaluate.views = 4
    return pecop.fine_tuned(config, start)
