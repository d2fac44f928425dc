"""DAE on a folder of your own videos and a csv of their scores: docs/your_own_data.md.

    python run.py --config configs/folder.py --config.data.raw_dir=my_videos --workdir runs/mine

A word after the colon says how large:

- ``small`` (default): the starter backbone, whole pictures of 32 pixels, minutes on a laptop. To see that everything
  fits together, and what can be had for nothing; the starter has seen rendered motion alone.
- ``i3d``: I3D at 224 pixels from published Kinetics weights (``--config.model.weights=model_rgb.pth``), as DAE's
  authors train it. Wants a GPU.

Both take 64 frames spread over the whole video, in four clips of 16, so videos may be of any length; shorter ones are
stretched when the dataset is built. Neither reads a difficulty. A sixth of the training videos, of other subjects, is
held out for the uncertainty; with so few the last step counts, not the best of many. From adapters pretrained on the
same folder (configs/folder_pecop.py): ``--config.adapter.kind=3d --config.adapter.file=runs/mine_pecop``.
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config
from configs import pecop

SIZES = ("small", "i3d")
FRAMES = 64


def get_config(size: str = "small") -> ConfigDict:
    """The config; ``size`` is small or i3d."""
    pecop.check(size, SIZES)
    config = videos(default_config(), size)
    config.data.window = FRAMES
    config.data.window_mode = "linspace"
    config.data.clip_starts = tuple(range(0, FRAMES, 16))
    config.data.max_shift = 0
    config.data.validation_fraction = 0.17
    config.evaluate.selection = "last"
    # Equal weights: the likelihood itself. DAE's .6 and .4 widen sigma by the root of 1.5.
    config.head.alpha = 0.5
    config.head.beta = 0.5
    config.head.warmup_fraction = 0.34
    config.head.mse_weight = 0.3
    if size == "small":
        config.optimizer.learning_rate = 1e-3
        config.optimizer.weight_decay = 0.0
    config.optimizer.schedule = "cosine"
    config.optimizer.final_fraction = 0.01
    config.optimizer.warmup_steps = 20
    config.optimizer.clip_norm = 1.0
    config.train.epochs = 60.0
    config.train.evaluate_every = 100
    config.evaluate.batch_size = 16
    return config


def videos(config: ConfigDict, size: str) -> ConfigDict:
    """``config`` for the folder, with the backbone and the pictures that ``size`` says."""
    config.data.builder = "folder"
    config.data.options = ""
    config.data.random_crop = True
    config.model.dialect = "pecop"
    if size == "small":
        # Square, so that the crop sees nearly all of a wide picture.
        config.data.base_options = "height=36,width=36"
        config.data.crop = 32
        config.model.width = 0.25
        config.model.weights = "starter"
    return config
