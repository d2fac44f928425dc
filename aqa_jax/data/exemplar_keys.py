"""What a video shares with the training videos that it is compared with, as a number: a key."""

import zlib
from collections.abc import Mapping

import numpy as np

from aqa_jax.config_keys import HeadConfig
from aqa_jax.data.video_store import VideoTable
from aqa_jax.errors import ConfigError, DataError

COLUMN = "exemplar_key"
"""The column of a batch that a head of exemplars reads; no dataset has it."""

KEY_DECIMALS = 3


def key_of_difficulty(difficulty: np.ndarray) -> np.ndarray:
    """Difficulties as keys, float32: those written alike are equal."""
    return np.round(np.asarray(difficulty, np.float64), KEY_DECIMALS).astype(np.float32)


def exemplar_keys(table: VideoTable, rows: Mapping[str, np.ndarray], settings: HeadConfig) -> np.ndarray:
    """What a video shares with its exemplars, as a number: float32 [table].

    Args:
      table: the dataset's videos.
      rows: of each split, ``train`` among them.
      settings: says what is shared.

    Raises:
      DataError: a video of ``rows`` lacks it, or shares it with no training video.
    """
    by = settings.exemplars_by
    if by == "random":
        return np.zeros(len(table), np.float32)
    if by not in table.names:
        raise DataError(
            f"config.head.exemplars_by={by}, but this dataset has no column {by}: choose "
            f"{'config.head.exemplars_by=difficulty or ' if 'difficulty' in table.names else ''}"
            "config.head.exemplars_by=random."
        )
    values = table.column(by)
    if by == "difficulty":
        keys, missing = key_of_difficulty(values), ~np.isfinite(values.astype(float))
    else:
        # 24 bits: exact in float32.
        keys = np.array([zlib.crc32(str(value).encode()) & 0xFFFFFF for value in values], np.float32)
        missing = np.array([str(value) in ("", "nan") for value in values])
    used = np.concatenate(list(rows.values()))
    if missing[used].any():
        raise DataError(
            f"config.head.exemplars_by={by}, but {missing[used].sum()} videos have none, for instance "
            f"{_some(table, used[missing[used]])}: choose config.head.exemplars_by=random."
        )
    known = set(keys[rows["train"]].tolist())
    for split, part in rows.items():
        lonely = np.array([row for row in part if keys[row] not in known], np.int64)
        if len(lonely):
            held_out = set(keys[lonely].tolist()) & set(keys[rows.get("validation", lonely[:0])].tolist())
            raise DataError(
                f"No training video has the {by} of {len(lonely)} videos of the {split} split: {_some(table, lonely)} "
                f"({by} {', '.join(sorted({str(values[row]) for row in lonely}))}): there is nothing to compare them "
                "with. Choose config.head.exemplars_by=random, or leave these videos out of the dataset"
                + (
                    "; or, for videos of the training split have it and are held out for validation, another "
                    "config.seed, config.data.validation_by=video, or config.data.validation_fraction=0."
                    if held_out
                    else "."
                )
            )
    return keys


def keys_of_new_videos(difficulty: np.ndarray | None, count: int, settings: HeadConfig) -> np.ndarray:
    """What ``count`` videos of no dataset share with their exemplars, float32 [count]; ``difficulty`` as given.

    Raises:
      ConfigError: nobody says what they share.
    """
    if settings.exemplars_by == "random":
        return np.zeros(count, np.float32)
    if settings.exemplars_by == "difficulty" and difficulty is not None:
        return key_of_difficulty(difficulty)
    raise ConfigError(
        f"This run compares videos of the same {settings.exemplars_by}, which new files do not come with: train with "
        "config.head.exemplars_by=difficulty or random to score files."
    )


def _some(table: VideoTable, rows: np.ndarray) -> str:
    return ", ".join(map(str, table.column("id")[rows[:5]])) + (", ..." if len(rows) > 5 else "")
