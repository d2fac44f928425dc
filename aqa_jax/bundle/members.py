"""What a bundle holds, and the form of each member."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from aqa_jax.config import Config, builder_options
from aqa_jax.errors import DataError
from aqa_jax.evaluate.familiarity import Familiarity

MANIFEST_SCHEMA = "aqa_jax.bundle/1"
PREPROCESSING_SCHEMA = "aqa_jax.preprocessing/1"

CARD = "MODEL_CARD.md"
MANIFEST = "manifest.json"
CONFIG = "config.json"
PREPROCESSING = "preprocessing.json"
TRAINED_ON = "trained_on.json"
METRICS = "metrics.json"
RECALIBRATION = "recalibration.json"
FAMILIARITY = "familiarity.safetensors"
WEIGHTS = "weights.safetensors"
PROGRAM = "model.stablehlo"

LIMITS = {
    CARD: 2**20, MANIFEST: 2**16, CONFIG: 2**18, PREPROCESSING: 2**16, TRAINED_ON: 2**24, METRICS: 2**20,
    RECALIBRATION: 2**16, FAMILIARITY: 2**26, WEIGHTS: 2**30, PROGRAM: 2**30,
}  # fmt: skip
"""Every member that there may be, in their order, and how many bytes each may have."""

REQUIRED = (CARD, MANIFEST, CONFIG, PREPROCESSING, TRAINED_ON, WEIGHTS)

# What is told of the training data. Whatever else a run keeps (ids of excluded videos, say) stays at home.
_TRAINED_ON_KEPT = ("schema", "builder", "fingerprint", "frame_size", "videos", "score_range")


def to_json(content: Mapping[str, Any]) -> bytes:
    """As bytes."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256(content: bytes) -> str:
    """In hex."""
    return hashlib.sha256(content).hexdigest()


def shareable_config(config: Config) -> dict[str, Any]:
    """``config`` without what it says of the machine and of single videos: folders are cut off, exclusions left out."""
    values = dataclasses.asdict(config)
    for group in ("data", "model", "adapter"):
        values[group] = {key: without_folders(value) for key, value in values[group].items()}
    values["data"] |= {"data_dir": Config().data.data_dir, "raw_dir": "", "exclude": ""}
    for key in ("options", "base_options"):
        # Those of the builders can name videos too.
        kept = {k: v for k, v in builder_options(getattr(config.data, key)).items() if k != "exclude"}
        values["data"][key] = ",".join(f"{k}={without_folders(v)}" for k, v in kept.items())
    values["data"]["test_where"] = nameless(config.data.test_where)
    values["export"] = dataclasses.asdict(Config().export)
    return values


def shareable_training(trained_on: Mapping[str, Any], *, scores: bool, fingerprints: bool) -> dict[str, Any]:
    """What a bundle says of the training data, from ``trained_on.json``."""
    kept = {key: trained_on[key] for key in _TRAINED_ON_KEPT if key in trained_on}
    kept["builder"] = without_folders(kept["builder"])
    kept["groups"] = trained_on.get("groups", []) if fingerprints else []
    if left_out := len(trained_on.get("excluded", ())):
        kept["excluded_videos"] = left_out
    if scores and trained_on.get("scores"):
        kept["scores"] = trained_on["scores"]
    return kept


def preprocessing(config: Config, frame_size: tuple[int, int]) -> dict[str, Any]:
    """From a file's frames to what the network takes, in full: for programs that do not use this library.

    Also the agreement between the version that wrote a bundle and the one that reads it: where they differ, scores
    would.
    """
    from aqa_jax.models.score_model import NORMALISATIONS

    data = config.data
    mean, std = NORMALISATIONS[data.normalisation]
    return {
        "schema": PREPROCESSING_SCHEMA,
        "colours": "RGB, uint8; then (value / 255 - mean) / std, each channel",
        "mean": list(mean),
        "std": list(std),
        "frame_size": list(frame_size),
        "crop": [data.crop, data.crop],
        "crop_at": "centre",
        "window_frames": data.window,
        "window": "spread over the video"
        if data.window_mode == "linspace"
        else f"the middle one of a video of {data.window} to {data.window + data.max_shift} frames; of any other "
        "length, frames spread evenly over the video",
        "clip_starts": list(data.clip_starts),
        "clip_length": data.clip_length,
        "clip_stride": data.clip_stride,
        "tensor": ["clips", "frames", "height", "width", "channels"],
    }


def arrays_to_bytes(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """As a safetensors file."""
    # The library writes the memory as it lies: a transposed view would come back scrambled.
    plain = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    return safetensors.numpy.save(plain, metadata=dict(metadata or {}))


def bytes_to_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file.

    Raises:
      DataError: it is damaged, or an array holds NaN or infinity.
    """
    try:
        arrays = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"it is no safetensors file ({error})") from None
    bad = [name for name, value in arrays.items() if value.dtype.kind not in "biuf" or not np.isfinite(value).all()]
    if bad:
        raise DataError(f"{', '.join(bad[:3])} hold NaN, infinity, or no numbers")
    return arrays


def familiarity_to_bytes(near: Familiarity) -> bytes:
    """As a safetensors file, its numbers and words in the metadata."""
    content = dataclasses.asdict(near)
    arrays = {name: content.pop(name) for name in ("known", "offset", "scale")}
    return arrays_to_bytes(arrays, {"familiarity": json.dumps(content)})


def bytes_to_familiarity(content: bytes) -> Familiarity:
    """What :func:`familiarity_to_bytes` made.

    Raises:
      DataError: it is something else.
    """
    arrays = bytes_to_arrays(content)
    try:
        length = int.from_bytes(content[:8], "little")
        told = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["familiarity"])
        near = Familiarity(
            arrays["known"], arrays["offset"], arrays["scale"], int(told["neighbours"]), float(told["threshold"]),
            float(told["level"]), str(told["learnt_on"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{error!r} is missing or of the wrong type") from None
    videos, channels = near.known.shape if near.known.ndim == 2 else (0, -1)
    if near.offset.shape != (channels,) or near.scale.shape != (channels,) or not 1 <= near.neighbours <= videos:
        raise DataError("its arrays do not fit together")
    return near


def nameless(test_where: str) -> str:
    """Which videos were tested, without the name of a group (a patient, an athlete): the number of a fold may stay."""
    column = test_where.partition("=")[0]
    return test_where if column in ("", "fold") else f"{column}=not told"


def without_folders(value: Any) -> Any:
    """The last part alone of a path; whatever is no text as it is."""
    return re.sub(r"(?s).*[/\\]", "", value) if isinstance(value, str) else value
