"""Rendered dives whose judges differ in the mist: does a head know how sure it may be?

    python run.py --config configs/dives_uncertainty.py:dae_judges --workdir runs/uncertainty_dae_judges

After the colon: regression, usdl, musdl, dae (told no difficulty), dae_mt, dae_mt_plain (without the judges' spread),
dae_judges, core or dae_core. The quickstart's training on 4,000 dives, whose judges' standard deviation lies between
.15 and 2.5 points and is seen in the frames as mist; 2,000 test dives by other divers. scripts/uncertainty_study.py
runs them all and makes the table of docs/uncertainty.md.
"""

from ml_collections import ConfigDict

from aqa_jax.errors import ConfigError
from configs import quickstart

# Keys of config.head by the word after the colon. Marks are whole and half points from 0 to 10.
HEADS: dict[str, dict] = {
    "regression": {"name": "regression"},
    "usdl": {"name": "usdl"},
    "musdl": {"name": "musdl", "bins": 21, "lowest": 0.0, "highest": 10.0, "label_std": 2.0},
    "dae": {"name": "dae"},
    "dae_mt_plain": {"name": "dae_mt"},
    "dae_mt": {"name": "dae_mt", "spread_weight": 1.0},
    "dae_judges": {"name": "dae_judges"},
    "core": {"name": "core"},
    "dae_core": {"name": "dae_core"},
}


def get_config(head: str = "dae_judges") -> ConfigDict:
    """The config for the ``head``, one of :data:`HEADS`."""
    if head not in HEADS:
        raise ConfigError(f"configs/dives_uncertainty.py:{head}: after the colon comes one of {', '.join(HEADS)}.")
    config = quickstart.get_config()
    config.data.options = "train_videos=4000,train_athletes=360,test_videos=2000,test_athletes=180,judge_noise=2.5"
    config.data.validation_fraction = 0.2
    for key, value in HEADS[head].items():
        config.head[key] = value
    config.train.steps = 2400
    config.train.evaluate_every = 400
    config.evaluate.batch_size = 64
    config.evaluate.track_test = False
    config.predict.samples = 0
    return config
