"""Dives with one fault in a known place: does an explanation find it?

    python run.py --config configs/dives_faults.py --workdir runs/dives_faults

3,000 rendered dives to train and validate on, two thirds of them with one planted fault of eight frames (a wobble,
legs apart, arms out) that costs 3.1 to 4.5 points out of ten; 400 test dives by other divers. DAE-MT from the starter
backbone sees 48 frames as six clips of eight, and is told the score alone. scripts/why_study.py measures where its
explanations point: docs/why.md.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    """The config."""
    config = quickstart.get_config()
    config.data.options = "planted=0.667,train_videos=3000,test_videos=400,train_athletes=200"
    config.data.window = 48
    config.data.clip_length = 8
    config.data.clip_starts = (0, 8, 16, 24, 32, 40)
    config.evaluate.track_test = False
    config.predict.samples = 0
    config.train.steps = 500
    config.train.evaluate_every = 250
    return config
