"""Dives with one fault in a known place: does an explanation find it?

    python run.py --config configs/dives_faults.py --workdir runs/dives_faults

2,500 rendered dives to train and validate on, four fifths of them with one planted fault of eight frames (a wobble,
legs apart, a stalled rotation) that costs 2.4 to 4 points out of ten; 300 test dives by other divers. DAE-MT from the
starter backbone sees 48 frames as six clips of eight, and is told the score alone. scripts/why_study.py measures where
its explanations point: docs/why.md.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    """The config."""
    config = quickstart.get_config()
    config.data.options = "planted=0.8,train_videos=2500,train_athletes=200"
    config.data.window = 48
    config.data.clip_length = 8
    config.data.clip_starts = (0, 8, 16, 24, 32, 40)
    config.evaluate.track_test = False
    config.predict.samples = 0
    config.train.steps = 1200
    config.train.evaluate_every = 300
    return config
