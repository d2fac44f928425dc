"""An adapter file: what was trained beside a frozen backbone, and which backbone that was.

A safetensors file of the adapters' parameters and of the backbone's running statistics, by their paths in the model.
Its metadata (text) says how the adapters are made, what they were trained on, and what they belong to.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax.errors import WeightsError
from aqa_jax.weights.convert import ADAPTERS, group_of
from aqa_jax.weights.safetensors_io import read_safetensors, write_safetensors

SCHEMA = "aqa_jax.adapter/1"
GROUPS_KEY = "training_groups"
"""The metadata entry of a weight file that lists fingerprints of the groups and videos that it was trained on."""
# The settings that decide the shapes, by kind; the others only decide how adapters start.
DECISIVE = {"3d": ("kind", "blocks", "ratio", "depthwise"), "lora": ("kind", "blocks", "rank")}


@dataclass(frozen=True)
class AdapterFile:
    """An adapter and what must be known to attach it.

    Attributes:
      arrays: float32, adapters and running statistics by path.
      settings: kind, blocks, ratio, rank, zero_scale, depthwise, as in ``config.adapter``.
      dialect: of the backbone.
      width: of the backbone.
      backbone: :func:`backbone_fingerprint` of the frozen arrays that it was trained with.
      provenance: dataset, config and checkpoint, as text.
      groups: fingerprints of every group (patient, athlete, ...) and every video that it was trained on.
    """

    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]
    dialect: str
    width: float
    backbone: str
    provenance: dict[str, str]
    groups: tuple[str, ...]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the file, whole or not at all."""
        metadata = {
            "schema": SCHEMA,
            "adapter": json.dumps(self.settings),
            "dialect": self.dialect,
            "width": repr(float(self.width)),
            "backbone": self.backbone,
            "content": fingerprint(self.arrays),
            "provenance": json.dumps(self.provenance),
            GROUPS_KEY: json.dumps(self.groups),
        }
        write_safetensors(path, self.arrays, metadata)

    def misfits(self, settings: Mapping[str, Any], dialect: str, width: float) -> list[str]:
        """Each config key that must change before these adapters fit, in words."""
        wanted = {f"adapter.{key}": self.settings[key] for key in DECISIVE[self.settings["kind"]]}
        given: dict[str, Any] = {f"adapter.{key}": value for key, value in settings.items()}
        wanted |= {"model.dialect": self.dialect, "model.width": self.width}
        given |= {"model.dialect": dialect, "model.width": width}
        return [
            f"config.{key} is {_shown(given[key])}, the file's {_shown(value)}"
            for key, value in wanted.items()
            if _shown(given[key]) != _shown(value)
        ]

    def describe(self) -> str:
        """Everything but the numbers, a line each."""
        adapters = [value for name, value in self.arrays.items() if group_of(name) == ADAPTERS]
        rows = {
            "kind": self.settings["kind"],
            **{key: _shown(self.settings[key]) for key in DECISIVE[self.settings["kind"]][1:]},
            "dialect, width": f"{self.dialect}, {self.width:g}",
            "backbone": self.backbone,
            "parameters": f"{sum(a.size for a in adapters):,} in {len(adapters)} arrays",
            "statistics": f"{len(self.arrays) - len(adapters)} arrays of batch normalisation",
            "bytes": f"{sum(a.nbytes for a in self.arrays.values()):,}",
            **self.provenance,
            "trained on": f"{len(self.groups)} groups (patients, athletes, ...) and videos, kept as fingerprints",
        }
        return "\n".join(["an adapter file", *(f"  {name:<22}{value}" for name, value in rows.items())])


def read_adapter(path: str | os.PathLike[str]) -> AdapterFile:
    """Reads an adapter file and checks that it is whole.

    Raises:
      WeightsError: the file is missing or damaged, or is no adapter file.
    """
    arrays, metadata = read_safetensors(path)
    if metadata.get("schema") != SCHEMA:
        known = "a weight file" if any(name.endswith("/conv/kernel") for name in arrays) else "something else"
        raise WeightsError(
            f"{path}: not an adapter file but {known} (no metadata 'schema': '{SCHEMA}'). A backbone is given as "
            "config.model.weights; --mode export_adapter makes an adapter file of a run."
        )
    try:
        settings, provenance, groups = (json.loads(metadata[key]) for key in ("adapter", "provenance", GROUPS_KEY))
        _ = [settings[key] for key in DECISIVE[settings["kind"]]]
        if not (isinstance(provenance, dict) and isinstance(groups, list) and 0 < float(metadata["width"]) < math.inf):
            raise ValueError("provenance, groups or width")
        adapter = AdapterFile(
            arrays, settings, metadata["dialect"], float(metadata["width"]), metadata["backbone"],
            {str(key): str(value) for key, value in provenance.items()}, tuple(map(str, groups)),
        )  # fmt: skip
        whole = metadata["content"] == fingerprint(arrays)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: damaged, its metadata cannot be read ({error!r}); export it again.") from error
    if not whole:
        raise WeightsError(f"{path}: damaged, its arrays are not those that were written; export or copy it again.")
    bad = [name for name, value in arrays.items() if not np.isfinite(value).all()]
    if bad:
        raise WeightsError(f"{path}: {', '.join(bad[:3])} hold NaN or infinity: the training that wrote it diverged.")
    return adapter


def adapter_arrays(flat: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The leaves of a model that an adapter file holds: adapters and the backbone's running statistics."""
    return {name: np.asarray(leaf, np.float32) for name, leaf in flat.items() if _is_carried(name)}


def backbone_fingerprint(flat: Mapping[str, Any]) -> str:
    """SHA-256 of the backbone that adapters belong to, in hex.

    Without its running statistics, which move with pretraining, and without a classifier.
    """
    kept = (name for name in flat if name.startswith("i3d/") and group_of(name) == "i3d" and not _is_carried(name))
    return fingerprint({name: np.asarray(flat[name]) for name in kept})


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and float32 values in the order of the names, in hex."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.asarray(arrays[name], "<f4", order="C")
        digest.update(f"{name} {list(value.shape)}\n".encode())
        digest.update(value.data)
    return digest.hexdigest()


def group_fingerprint(builder: str, group: str) -> str:
    """16 hex digits that stand for a group of a dataset.

    A pseudonym, no secret: whoever can guess the group's name, such as a patient's three digits, can recognise it.
    """
    return hashlib.sha256(f"{Path(builder).name}/{group}".encode()).hexdigest()[:16]


def video_fingerprint(builder: str, group: str, video: str) -> str:
    """The same of a video, by its id: a dataset whose splits share groups can leak videos alone."""
    return group_fingerprint(builder, f"{group}/{video}")


def read_groups(metadata: Mapping[str, str], path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The fingerprints of training groups and videos that a weight file's metadata list, if any.

    Raises:
      WeightsError: the entry is no list.
    """
    try:
        groups = json.loads(metadata.get(GROUPS_KEY, "[]"))
        if not isinstance(groups, list):
            raise ValueError("no list")
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: damaged, its metadata {GROUPS_KEY!r} cannot be read ({error}).") from error
    return tuple(map(str, groups))


def _is_carried(name: str) -> bool:
    return group_of(name) == ADAPTERS or (name.startswith("i3d/") and name.endswith(("/bn/mean", "/bn/var")))


def _shown(value: Any) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(sorted(map(str, value)))
    return f"{value:g}" if isinstance(value, float) else str(value)
