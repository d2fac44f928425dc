"""Adapters taken out of a run, and put into the start of another."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.errors import CheckpointError, ConfigError, DataError, WeightsError
from aqa_jax.evaluate.selection import Selection
from aqa_jax.files import read_json
from aqa_jax.train import state as states
from aqa_jax.train.chosen import restore_chosen
from aqa_jax.train.finished import TRAINED_ON
from aqa_jax.train.run import Run
from aqa_jax.weights.adapter_file import (
    AdapterFile,
    adapter_arrays,
    backbone_fingerprint,
    group_fingerprint,
    read_adapter,
    video_fingerprint,
)

_ARRAYS = ("trainable", "frozen", "stats")
_SHOWN = 20


def is_exportable(config: Config) -> bool:
    """Whether training under ``config`` leaves adapters beside a backbone that it does not touch."""
    return config.adapter.kind != "none" and config.train.trainable == "adapters"


def load_adapter(path: Path) -> AdapterFile:
    """An adapter file, or the adapters of a run's workdir.

    Raises:
      WeightsError, ConfigError, CheckpointError: see :func:`read_adapter` and :func:`adapter_of_run`.
    """
    return adapter_of_run(path) if (path / "config.json").is_file() else read_adapter(path)


def adapter_of_run(workdir: Path, selection: str = "") -> AdapterFile:
    """The adapters of the checkpoint that ``selection`` (or else the run's own rule) chooses.

    Raises:
      ConfigError: the run has no adapters, or trained its backbone too.
      CheckpointError: there is no checkpoint, or the workdir was imported and not trained.
    """
    config = config_lib.resolve(config_lib.read_json(workdir / "config.json"))
    if selection:
        config = dataclasses.replace(config, evaluate=dataclasses.replace(config.evaluate, selection=selection))
    if not is_exportable(config):
        raise ConfigError(
            f"{workdir}: config.adapter.kind={config.adapter.kind} with config.train.trainable="
            f"{config.train.trainable}. Only a run that trains adapters alone (config.train.trainable=adapters) leaves "
            "them with a backbone that others have; --mode import_weights exports backbone and adapters together."
        )
    chosen, state = restore_chosen(Run(config), workdir)
    return adapter_of_state(config, workdir, chosen, state)


def adapter_of_state(config: Config, workdir: Path, chosen: Selection, state: states.State) -> AdapterFile:
    """The adapters in ``state``, the checkpoint ``chosen`` of the run in ``workdir`` trained under ``config``.

    Raises:
      CheckpointError: the workdir does not say what the run was trained on.
    """
    trained_on = training_data(workdir, chosen)
    if trained_on is None:
        raise CheckpointError(
            f"{workdir} was imported, or trained before adapter files were: it does not say which part of the "
            "dataset it was trained on. Export the adapters from the run that trained them."
        )
    flat = states.flat(state, _ARRAYS)
    settings = {
        k: list(v) if k == "blocks" else v for k, v in dataclasses.asdict(config.adapter).items() if k != "file"
    }
    provenance = {
        "task": config.task,
        "dataset": f"{config.data.builder} ({config.data.training_split})",
        "dataset_fingerprint": str(trained_on["fingerprint"]),
        "config_hash": config_lib.fingerprint(config),
        "selection": json.dumps(chosen.to_dict()),
        "weights": backbone_name(config),
    }
    return AdapterFile(
        adapter_arrays(flat), settings, config.model.dialect, config.model.width, backbone_fingerprint(flat),
        provenance, tuple(trained_on["groups"]),
    )  # fmt: skip


def training_data(workdir: Path, chosen: Selection) -> dict[str, Any] | None:
    """What the run was trained on (``trained_on.json``), None where it does not say: it was imported, or is old."""
    path = workdir / "trained_on.json"
    # Step 0 is an import: the file then says what it was evaluated on.
    content = read_json(path, TRAINED_ON) if chosen.step and path.exists() else {}
    return content if "groups" in content else None


def attach(run: Run, groups: states.State, path: Path) -> tuple[states.State, AdapterFile]:
    """``groups`` with the adapters and running statistics at ``path`` (a file, or a run's workdir); both.

    Raises:
      WeightsError: the file is damaged, made with other settings (each config key is named), or for another backbone.
      DataError: it was trained on what this run tests, see :func:`check_overlap`.
    """
    adapter, config = load_adapter(path), run.config
    settings = dataclasses.asdict(config.adapter)
    misfits = adapter.misfits(settings, config.model.dialect, config.model.width)
    if misfits:
        raise WeightsError(
            f"config.adapter.file={path} needs the keys that it was trained with:\n  " + "\n  ".join(misfits)
        )
    flat = states.flat(groups, _ARRAYS)
    ours = backbone_fingerprint(flat)
    if ours != adapter.backbone:
        raise WeightsError(
            f"config.adapter.file={path} belongs to another backbone.\n"
            f"  It was trained on {adapter.backbone} ({adapter.provenance.get('weights', 'unknown')}),\n"
            f"  this run has       {ours} ({backbone_name(config)}).\n"
            "Set config.model.weights to the weights that the adapters were trained on, or train adapters for these."
        )
    odd = adapter_arrays(flat).keys() ^ adapter.arrays.keys()
    if odd:
        raise WeightsError(f"config.adapter.file={path}: {len(odd)} arrays do not match the model, as {min(odd)}.")
    check_overlap(run, adapter.groups, f"config.adapter.file={path}")
    return states.with_values(groups, adapter.arrays), adapter


def check_overlap(run: Run, trained_on: tuple[str, ...], name: str) -> None:
    """Refuses weights that were trained on what this run tests: groups (patients, ...) as unseen ones, or videos.

    A group that the run trains on as well is no unseen one: some datasets are not split by group.
    Remembers ``trained_on``, so that what this run exports names it too.

    Raises:
      DataError: names these groups or videos, unless ``config.data.allow_pretraining_overlap``.
    """
    run.inherited_groups |= set(trained_on)
    if not trained_on or run.config.data.allow_pretraining_overlap:
        return
    builder, rows, known = run.config.data.builder, run.rows, set(trained_on)
    group, video = (run.store.table.column(column).astype(str) for column in ("group", "id"))
    unseen = np.setdiff1d(group[rows["test"]], group[np.concatenate([rows["train"], rows["validation"]])])
    seen = [one for one in unseen if group_fingerprint(builder, one) in known]
    what = "group(s)"
    if not seen:
        what = "video(s)"
        seen = [video[row] for row in rows["test"] if video_fingerprint(builder, group[row], video[row]) in known]
    if seen:
        listed = ", ".join(seen[:_SHOWN]) + (", ..." if len(seen) > _SHOWN else "")
        raise DataError(
            f"{name} was trained on {len(seen)} {what} of this run's test split: {listed}. They would not be tested as "
            "unseen ones. Pretrain without them, or accept that with config.data.allow_pretraining_overlap=True: the "
            "results then say so."
        )


def backbone_name(config: Config) -> str:
    """What ``config.model.weights`` is, without its folder: that is nobody else's."""
    name = Path(config.model.weights).name
    return f"config.model.weights={name}" if name else f"random, seed {config.seed}"
