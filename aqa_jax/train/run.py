"""Everything that a config determines before the first step: data, splits, task, model."""

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.data import exemplar_keys, splits
from aqa_jax.data.frame_cache import FrameCache, cache_bytes
from aqa_jax.data.video_store import REMEDY, VideoStore
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.files import write_json
from aqa_jax.models.adapters import TUNING
from aqa_jax.tasks import make_task
from aqa_jax.train import step as steps
from aqa_jax.train.finished import TRAINED_ON
from aqa_jax.train.state import Assembler, State
from aqa_jax.weights.adapter_file import group_fingerprint, video_fingerprint

if TYPE_CHECKING:
    from aqa_jax.data.pipeline import eval_iterator

# TFDS and grain are imported where they are used: scoring a file does not wait for them.


def build_dataset(config: Config) -> Path:
    """Builds the dataset of ``config`` unless it is there; returns its directory."""
    data = config.data
    from aqa_jax.data import build

    return build.build(
        data.builder,
        data_dir=data.data_dir,
        raw_dir=data.raw_dir or None,
        options=config_lib.all_options(data),
    )


class Run:
    """A config, its data and its model. Nothing is read from the dataset until it is asked for."""

    def __init__(self, config: Config):
        """Raises ConfigError or DataError where ``config`` cannot work."""
        self.config = config
        self.task = make_task(config)
        self.window = self.task.window
        self.paired = exemplar_keys.COLUMN in self.task.columns
        # Fingerprints of what the initial weights were trained on.
        self.inherited_groups: set[str] = set()
        self.assembler = Assembler(lambda: self.make_model(None), TUNING[config.train.trainable])

    def make_model(self, labels: Any) -> nnx.Module:
        """The task's model; ``labels`` of the training videos, or None where the weights come from a checkpoint."""
        return self.task.make_model(labels, nnx.Rngs(self.config.seed), steps.AXIS)

    @cached_property
    def store(self) -> VideoStore:
        """The dataset, built first if need be (by the first process; the others wait)."""
        directory = build_dataset(self.config) if jax.process_index() == 0 else None
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("dataset built")
        store = VideoStore.open(directory or build_dataset(self.config))
        check_crop(self.config.data.crop, store.frame_size)
        return store

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """Rows of ``train``, ``validation`` (carved from the splits to train on) and ``test``; none is excluded."""
        if not self.config.data.test_where and "test" not in self.store.table.column("split"):
            raise ConfigError(
                f"The dataset {self.config.data.builder} has no test split: choose the videos to test on with "
                "config.data.test_where, as fold=0 or group=B."
            )
        return self.rows_if_any()

    def rows_if_any(self) -> dict[str, np.ndarray]:
        """As ``rows``; ``test`` is empty where the dataset has no such split and none is chosen."""
        data, table = self.config.data, self.store.table
        train, validation = splits.to_train_on(table, data.training_split), np.zeros(0, np.int64)
        if data.test_where:
            train, test = splits.held_out(table, train, data.test_where)
        else:
            test = np.flatnonzero(table.column("split") == "test")
        if data.validation_fraction:
            by = "group" if data.validation_by == "group" else "random"
            train, validation = splits.carve(
                table, train, fraction=data.validation_fraction, seed=self.config.seed, by=by
            )
        # Taken out last: an excluded video moves no other one between training and validation.
        chosen_rows = {"train": train, "validation": validation, "test": test}
        return splits.without(table, chosen_rows, config_lib.excluded_ids(data))

    @cached_property
    def extra_columns(self) -> dict[str, np.ndarray]:
        """Numbers [table] that batches hold beside the table's columns: what exemplars share, where there are any.

        Raises:
          DataError: a video has no exemplar.
        """
        if not self.paired:
            return {}
        return {exemplar_keys.COLUMN: exemplar_keys.exemplar_keys(self.store.table, self.rows, self.config.head)}

    def labels(self, split: str) -> dict[str, np.ndarray]:
        """The numeric columns of a split's videos and their ``row`` in the table, one array per column."""
        table, rows = self.store.table, self.rows[split]
        columns = {name: table.column(name) for name in table.names} | self.extra_columns
        return {name: values[rows] for name, values in columns.items() if values.dtype != object} | {"row": rows}

    def check_columns(self) -> None:
        """Raises DataError where the dataset lacks a number that the task reads."""
        for column in self.task.columns:
            if column in self.extra_columns:
                continue
            values = self.store.table.column(column)
            if column in ("score", "difficulty"):
                bad = [
                    self.store.table.column("id")[r]
                    for rows in self.rows.values()
                    for r in rows
                    if not np.isfinite(values[r])
                ]
                if bad:
                    listed = ", ".join(map(str, bad[:20])) + (" and more" if len(bad) > 20 else "")
                    raise DataError(f"{len(bad)} videos have no {column}: {listed}. {REMEDY}.")

    @cached_property
    def initial_groups(self) -> dict[str, Any]:
        """Fresh weights, with the constants that the training labels set."""
        self.check_columns()
        labels = self.labels("train")
        trainable = self.assembler.trainable
        return Assembler(lambda: self.make_model(labels), trainable).init()

    @cached_property
    def frame_cache(self) -> FrameCache:
        """Decoded frames of this run's videos, for every pass over a split."""
        return FrameCache(cache_bytes(self.config.data.cache_mb))

    @property
    def training_fits_into_cache(self) -> bool:
        """Whether all frames that training and evaluation can ask for fit: else those of the training, which are read
        first, would leave no room for the evaluation's."""
        frames = self.window.reach(self.store.table.column("num_frames")[np.concatenate(list(self.rows.values()))])
        return int(frames.sum()) * self.config.data.crop**2 * 3 <= self.frame_cache.max_bytes

    def batches_for_training(self) -> Any:
        """The endless, checkpointable stream of this process's training batches."""
        from aqa_jax.data.pipeline import train_iterator

        data, train = self.config.data, self.config.train
        return train_iterator(
            self.store, self.rows["train"], self.window, columns=self.task.columns,
            batch_size=train.batch_size // jax.process_count(), seed=self.config.seed, crop_size=data.crop,
            flip=data.flip, random_crop=data.random_crop, threads=data.threads or None,
            process_index=jax.process_index(), process_count=jax.process_count(), shuffle_time=data.shuffle_time,
            still=data.still, extra_columns=self.extra_columns, pair_keys=self.extra_columns.get(exemplar_keys.COLUMN),
            cache=self.frame_cache if self.training_fits_into_cache else None,
        )  # fmt: skip

    def batches_of(self, split: str, rows: np.ndarray | None = None) -> "eval_iterator":
        """Every video of ``split`` once per view; of those in ``rows`` alone, where they are given."""
        from aqa_jax.data.pipeline import eval_iterator

        data, evaluate = self.config.data, self.config.evaluate
        devices = jax.local_device_count()
        wanted = (evaluate.batch_size or self.config.train.batch_size) // jax.process_count()
        return eval_iterator(
            self.store, self.rows[split] if rows is None else rows, self.window, columns=self.task.columns,
            batch_size=max(-(-wanted // devices), 1) * devices, crop_size=data.crop, threads=data.threads or None,
            process_index=jax.process_index(), process_count=jax.process_count(), views=evaluate.views,
            shuffle_time=data.shuffle_time, still=data.still, seed=self.config.seed, extra_columns=self.extra_columns,
            cache=self.frame_cache,
        )  # fmt: skip

    @cached_property
    def output_step(self) -> Any:
        """The compiled evaluation step."""
        return steps.make_output_step(self.task, self.assembler)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """[S, T, H, W, 3] of one video as the model sees it."""
        crop = self.config.data.crop
        return (self.window.num_clips, self.window.clip_length, crop, crop, 3)

    def trained_on(self) -> dict[str, Any]:
        """What a workdir keeps of its dataset, so that new videos can be scored without it.

        ``groups`` are fingerprints of groups and videos, those that the initial weights were trained on among them: an
        adapter file tells them to later runs. ``scores`` are the training videos', ascending, score points.
        """
        builder, table = self.config.data.builder, self.store.table
        seen = np.concatenate([self.rows["train"], self.rows["validation"]])
        videos = list(zip(table.column("group")[seen], table.column("id")[seen], strict=True))
        fingerprints = {video_fingerprint(builder, group, video) for group, video in videos}
        fingerprints |= {group_fingerprint(builder, group) for group, _ in videos}
        scores = self.labels("train").get("score", np.zeros(0))
        scores = scores[np.isfinite(scores)]  # Some videos may have no label.
        return {
            "schema": TRAINED_ON,
            "builder": self.config.data.builder,
            "fingerprint": self.store.metadata["fingerprint"],
            "frame_size": list(self.store.frame_size),
            "videos": {split: len(rows) for split, rows in self.rows.items()},
            "excluded": list(config_lib.excluded_ids(self.config.data)),
            "groups": sorted(fingerprints | self.inherited_groups),
            "score_range": [float(scores.min()), float(scores.max())] if len(scores) else None,
            # Without names: what a new video's score is shown among.
            "scores": np.sort(scores).tolist(),
        }


def check_crop(crop: int, frame_size: tuple[int, int]) -> None:
    """Raises ConfigError where the stored frames, (height, width) in pixels, are smaller than ``config.data.crop``."""
    if crop > min(frame_size):
        raise ConfigError(
            f"config.data.crop={crop} is larger than the stored frames {frame_size}: choose a smaller one, or build "
            "the dataset with larger frames (config.data.options)."
        )


def keep_config(config: Config, workdir: Path) -> None:
    """Writes ``config`` into ``workdir``, or makes sure that the one there is the same.

    Raises:
      ConfigError: the workdir belongs to another config; the keys that differ are named.
    """
    path = workdir / "config.json"
    if path.exists():
        kept = config_lib.resolve(config_lib.read_json(path))
        changed = config_lib.differences(kept, config, of_results=True)
        if config_lib.fingerprint(kept) != config_lib.fingerprint(config):
            raise ConfigError(
                f"{workdir} belongs to another config:\n  " + "\n  ".join(changed) + "\n"
                "Give the same config to go on with it, or another --workdir."
            )
    elif jax.process_index() == 0:
        write_json(path, json.loads(config_lib.to_json(config)))


def restored_like(run: Run) -> State:
    """Shapes and dtypes of the state without its optimizer: what scoring needs of a checkpoint."""
    return {"step": jax.ShapeDtypeStruct((), "int32"), **run.assembler.abstract}
