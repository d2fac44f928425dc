"""Build a dataset by name, without TensorFlow: what `--mode build` calls."""

import dataclasses
import hashlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from google.protobuf import json_format

from aqa_jax.data.builder import VideoBuilderConfig, VideoDatasetBuilder
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.quiet import only_errors

BUILDERS = Path(__file__).resolve().parents[2] / "data_builders"


def builder_class(name: str) -> type[VideoDatasetBuilder]:
    """The `Builder` of `data_builders/<name>`, or of the folder that `name` is a path to."""
    folder = Path(name) if os.sep in name else BUILDERS / name
    if not (folder / f"{folder.name}_dataset_builder.py").is_file():
        known = sorted(path.parent.name for path in BUILDERS.glob("*/*_dataset_builder.py"))
        raise ConfigError(f"no dataset builder {name!r}; there are {', '.join(known)}, or give the path of a folder")
    parent = str(folder.resolve().parent)
    if parent not in sys.path:
        sys.path.append(parent)  # at the end, and for good: spawned workers get the same path
    return importlib.import_module(f"{folder.name}.{folder.name}_dataset_builder").Builder


def make_config(cls: type[VideoDatasetBuilder], options: Mapping[str, Any]) -> VideoBuilderConfig:
    """The nearest named config with `options` changed; its name, a folder on disk, tells them apart."""
    known = cls.BUILDER_CONFIGS[0].options()
    wanted = dict(known)
    for key, value in options.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise ConfigError(
                f"{cls.name} has no option {key!r}"
                + (f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}")
            )
        wanted[key] = _typed(value, type(known[key]), f"{cls.name}: option {key!r}")

    def changes(config: VideoBuilderConfig) -> dict[str, Any]:
        return {key: wanted[key] for key, value in config.options().items() if wanted[key] != value}

    nearest = min(cls.BUILDER_CONFIGS, key=lambda config: len(changes(config)))
    if not (changed := changes(nearest)):
        return nearest
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]
    return dataclasses.replace(nearest, name=f"{nearest.name}-{digest}", **changed)


def _typed(value: Any, kind: type, what: str) -> Any:
    """`value` as `kind`; text as it stands on a command line is parsed (a list is separated by spaces)."""
    if isinstance(value, str) and kind is not str:
        if kind is bool:
            value = {"true": True, "false": False}.get(value.lower(), value)
        elif kind is list:
            value = value.split()
        else:
            with suppress(ValueError):
                value = kind(value)
    if kind is float and type(value) is int:
        value = float(value)
    if kind is list and isinstance(value, tuple):
        value = list(value)
    if type(value) is not kind:
        raise ConfigError(f"{what} is of type {kind.__name__}, got {value!r}")
    return value


def build(
    builder_name: str,
    *,
    data_dir: str | os.PathLike[str],
    raw_dir: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    workers: int | None = None,
) -> Path:
    """Build a dataset and return its directory, for `VideoStore.open`; returns at once when it is already
    there, and says so where that was built from other raw data than `raw_dir`.

    Args:
      builder_name: folder in `data_builders/`, or the path of a folder like those.
      data_dir: where datasets live; the dataset becomes `<data_dir>/<name>/<config>/<version>`.
      raw_dir: the raw data, for builders that need some.
      options: fields of the builder's config that differ from its defaults; values may be text, as typed.
      workers: processes; by default one a core, 0 for none but this one.

    Raises:
      ConfigError: no such builder or option.
      DataError: the raw data is missing or bad, the disk is full or fails; nothing is left behind.
    """
    builder = make_builder(builder_name, data_dir=data_dir, raw_dir=raw_dir, options=options)
    directory = Path(builder.data_dir)
    try:
        if (directory / "dataset_info.json").is_file():
            _say_which_raw_data(directory, raw_dir)
        else:
            builder.workers = workers
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=raw_dir))
    except OSError as error:
        raise DataError(
            f"building {builder.name} in {directory} stopped: {_in_words(error)}. Nothing is left that could be taken "
            "for a dataset; the same command builds it"
        ) from error
    return directory


def find(
    builder_name: str,
    *,
    data_dir: str | os.PathLike[str],
    raw_dir: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Path | None:
    """The directory of a dataset that is already built, as :func:`build` returns it; None where it is not."""
    directory = Path(make_builder(builder_name, data_dir=data_dir, raw_dir=raw_dir, options=options).data_dir)
    return directory if (directory / "dataset_info.json").is_file() else None


def make_builder(
    name: str,
    *,
    data_dir: str | os.PathLike[str],
    raw_dir: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> VideoDatasetBuilder:
    """What :func:`build` builds with: it knows its directory, `data_dir`, and has built nothing.

    Raises:
      ConfigError: no such builder or option.
      DataError: the directory cannot be looked into, or the dataset in it is damaged.
    """
    cls = builder_class(name)
    try:
        config = cls.config_for(make_config(cls, options or {}), raw_dir, data_dir)
        with only_errors():  # TFDS warns of every config that is not in BUILDER_CONFIGS
            return cls(data_dir=os.fspath(data_dir), config=config)
    except OSError as error:
        raise DataError(f"config.data.data_dir={os.fspath(data_dir)!r}: {_in_words(error)}") from error
    except (json_format.ParseError, UnicodeDecodeError, KeyError, AssertionError) as error:
        raise DataError(
            f"the dataset {cls.name} in {os.fspath(data_dir)} cannot be read ({error}): remove it and build it again"
        ) from error


def _in_words(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _say_which_raw_data(directory: Path, given: str | os.PathLike[str] | None) -> None:
    """A line where a finished dataset is used that was built from other raw data than is named now."""
    if given is None:
        return
    try:
        built_from = json.loads((directory / "metadata.json").read_text(encoding="utf-8")).get("raw_dir", "")
    except (OSError, ValueError, AttributeError):
        return  # `VideoStore.open` says what is wrong.
    if built_from and Path(built_from) != Path(given).resolve():
        print(
            f"{directory} is used as it was built, from {built_from}; {given} is not read. --mode check compares the "
            "two; remove the dataset to build it again.",
            file=sys.stderr,
        )
