"""PECoP's continual pretraining (WACV 2024, arXiv 2311.07603): adapters in a frozen I3D learn to tell a clip's pace.

    python run.py --config configs/pecop.py --config.data.builder=my_builders/my_videos \\
        --config.data.raw_dir=my_videos --config.model.weights=model_rgb.pth --workdir runs/pecop_mine

for videos of your own; ``configs/pecop_*.py`` are the published datasets. No label is read. A word after a colon
chooses the settings (``configs/pecop.py:code``):

- ``paper`` (default): what the paper and its poster state. Eight epochs, batch 16, clips of 32 frames, SGD with
  momentum, learning rate .001.
- ``code``: what the released code does where it differs. The learning rate is .01 whatever ``--lr`` says, which lowers
  the cosine's end alone; the sampler has one fast frame too many, lets clips run over the video's end and has five
  classes of pace. Its swapped colours (BGR under RGB's normalisation) are not reproduced.
- ``hpt``: the whole network is trained and has no adapters: the paper's comparison, for 16 epochs.

In all three an epoch goes through the videos 20 times, as in the code, whose epochs the paper presumably counts: eight
passes over PD4T's 310 gait videos would be 155 updates. The cosine has 22 epochs, of which the first 8 (or 16) are run;
it falls at every step here, there after every epoch. The colour jitter that the code builds is applied neither there
nor here. A tenth of the training videos, of other people, is held out to choose the step; the code holds out nothing:
``--config.data.validation_fraction=0 --config.evaluate.selection=last``.
"""

from ml_collections import ConfigDict

from aqa_jax.config import default_config
from aqa_jax.errors import ConfigError

VARIANTS = ("paper", "code", "hpt")
EPOCHS, COSINE_EPOCHS, PASSES = 8, 22, 20


def get_config(variant: str = "paper") -> ConfigDict:
    """The config; ``variant`` is one of ``VARIANTS``."""
    check(variant, VARIANTS)
    config = default_config()
    config.task = "vspp"
    config.data.clip_length = 32
    config.data.random_crop = True
    config.data.repeats = PASSES
    config.model.dialect = "pecop"
    config.model.batch_norm = "batch"
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.final_fraction = 1e-3
    config.optimizer.cosine_length = COSINE_EPOCHS / EPOCHS
    config.train.batch_size = 16
    config.train.epochs = float(EPOCHS)
    if variant == "code":
        config.vspp.faithful = True
        config.optimizer.learning_rate = 1e-2
        # A thousandth of --lr .001, which is not the rate that it trains at.
        config.optimizer.final_fraction = 1e-4
    if variant == "hpt":
        # 22 epochs of 16.
        config.train.epochs = 2.0 * EPOCHS
        config.optimizer.cosine_length = COSINE_EPOCHS / (2 * EPOCHS)
    else:
        config.adapter.kind = "3d"
        config.train.trainable = "adapters"
    return config


STARTS = ("pecop", "plain")


def fine_tuned(config: ConfigDict, start: str) -> ConfigDict:
    """``config``, a scoring run, on the backbone that pretraining left.

    ``pecop``: I3D with adapters, all of it trained; ``config.adapter.file`` says which. ``plain``: I3D alone, for the
    supervised baseline and, with its weights, after ``hpt``.
    """
    check(start, STARTS)
    config.model.dialect = "pecop"
    if start == "pecop":
        config.adapter.kind = "3d"
    return config


def check(word: str, known: tuple[str, ...]) -> None:
    """Raises ConfigError where ``word``, which stood after the colon, is not in ``known``."""
    if word not in known:
        raise ConfigError(f"After the colon of --config stands {word!r}; this config knows {', '.join(known)}.")
