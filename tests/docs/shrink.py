"""What makes any config of the pages run in seconds: a narrow network, a handful of videos, two steps."""

from collections.abc import Mapping
from typing import Any

from aqa_jax.config import builder_options

WIDTH = 0.05
STEPS = 2
# By builder: a few small videos.
OPTIONS = {
    "synthetic_dives": {"train_videos": "40", "test_videos": "12", "train_athletes": "12", "test_athletes": "4"},
    "synthetic_taps": {"train_videos": "16", "unlabelled_videos": "16", "test_videos": "8"},
    "synthetic_motion": {"train_videos": "16", "test_videos": "8"},
    "mtl_aqa": {"height": "36", "width": "64"},
    "pd4t": {"height": "36", "width": "64", "check_counts": "false"},
    "jigsaws": {"height": "36", "width": "36"},
    "folder": {"height": "36", "width": "36"},
}


def changes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys to change, by dotted name; ``config`` is a whole one, nested."""
    data = config["data"]
    builder = data["builder"].rstrip("/").rpartition("/")[2]
    options = builder_options(data["options"]) | OPTIONS.get(builder, {})
    found = {
        "data.options": ",".join(f"{key}={value}" for key, value in options.items()),
        "data.crop": min(data["crop"], 32),
        "data.repeats": 1,
        # The backbone that comes along has its own width.
        "model.width": config["model"]["width"] if config["model"]["weights"] == "starter" else WIDTH,
        "optimizer.warmup_steps": 0,
        "train.batch_size": 2,
        "train.steps": STEPS,
        "train.evaluate_every": STEPS,
        "train.log_every": 1,
        "evaluate.batch_size": 4,
        "evaluate.bootstrap": 10,
        "predict.samples": min(config["predict"]["samples"], 1),
        "head.hidden": (8, 8),
    }
    if config["task"] == "score":
        found["evaluate.selection"] = "last"  # The rank correlation of three videos may be undefined.
    if config["train"]["trainable"] == "all":
        found["train.trainable"] = "head"  # Compiled in a third of the time.
    if data["validation_fraction"]:
        found["data.validation_fraction"] = 0.3
    if builder == "jigsaws":
        found |= {"data.window": 32, "data.clip_starts": (0, 16)}
    return found
