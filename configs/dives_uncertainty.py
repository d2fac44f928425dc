"""Rendered dives whose judges differ in the mist: does a head know how sure it may be?

    python run.py --config configs/dives_uncertainty.py:start --workdir runs/start
    python run.py --config configs/dives_uncertainty.py:start --mode import_weights --weights runs/start --output runs/w
    python run.py --config configs/dives_uncertainty.py:dae_judges --config.model.weights=runs/w/weights.safetensors \\
        --workdir runs/uncertainty_dae_judges

12,000 dives to train and validate on, whose judges' standard deviation lies between .15 and 2.5 points and is seen in
the frames as mist; 1,500 test dives by other divers. ``start`` trains I3D from the quickstart's starter on the judges'
marks: squared error for their mean, and how far they lie apart, for a backbone that learns the mean alone loses the
mist. Every other word is a head, trained from there together with I3D: does it use what is there?
scripts/uncertainty_study.py runs them all and makes the table of docs/uncertainty.md.
"""

from ml_collections import ConfigDict

from aqa_jax.errors import ConfigError
from configs import quickstart

# Keys of config.head by the word after the colon. MUSDL's marks are whole and half points from 0 to 10.
HEADS: dict[str, dict] = {
    "regression": {"name": "regression"},
    "usdl": {"name": "usdl"},
    "musdl": {"name": "musdl", "bins": 21, "lowest": 0.0, "highest": 10.0, "label_std": 2.0},
    "dae": {"name": "dae"},
    "dae_mt_plain": {"name": "dae_mt"},
    "dae_mt": {"name": "dae_mt", "spread_weight": 1.0, "model_error": "one"},
    "dae_judges": {"name": "dae_judges", "model_error": "one"},
    "core": {"name": "core"},
    "dae_core": {"name": "dae_core"},
}
START = "start"


def get_config(head: str = START) -> ConfigDict:
    """The config for ``start`` or for one of :data:`HEADS`."""
    config = quickstart.get_config()
    config.data.options = "train_videos=12000,train_athletes=1000,test_videos=1500,test_athletes=140,judge_noise=2.5"
    config.evaluate.batch_size = 64
    config.evaluate.track_test = False
    config.evaluate.familiarity_neighbours = 0
    config.predict.samples = 0
    if head == START:
        config.head.name = "dae_judges"
        config.head.loss = "detached"
        config.head.model_error = "one"
        config.head.warmup_fraction = 0.0
        config.train.steps = 6000
        config.train.evaluate_every = 1500
        return config
    if head not in HEADS:
        words = ", ".join([START, *HEADS])
        raise ConfigError(f"configs/dives_uncertainty.py:{head}: after the colon comes one of {words}.")
    for key, value in HEADS[head].items():
        config.head[key] = value
    config.head.warmup_fraction = 0.1
    # A new head on a trained backbone: the backbone moves slowly, or its first steps undo what it knows.
    config.optimizer.learning_rate = 2e-4
    config.optimizer.head_multiplier = 10.0
    config.train.steps = 1000
    config.train.evaluate_every = 1000
    return config
