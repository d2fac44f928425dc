"""A config: turned into typed, frozen dataclasses (their keys: :mod:`aqa_jax.config_keys`), compared, printed, kept.

A file in ``configs/`` starts from :func:`default_config` and changes keys; the command line may change more. The result
is turned once into frozen dataclasses (:func:`resolve`), which refuse unknown keys, wrong types and impossible values.
Below that, code takes typed arguments and knows nothing of configurations.
"""

import dataclasses
import difflib
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict

from aqa_jax.config_keys import BLOCKS, HEAD_NAMES, Config, DataConfig
from aqa_jax.errors import ConfigError


def default_config() -> ConfigDict:
    """A locked ConfigDict of every key at its default, for a config file to change."""
    return ConfigDict(dataclasses.asdict(Config())).lock()


def resolve(config: Mapping[str, Any]) -> Config:
    """The typed, frozen form of ``config``.

    Raises:
      ConfigError: a key is unknown (the nearest right one is named), of the wrong type, or out of its bounds.
    """
    resolved = _resolve(Config, config, "")
    resolved = dataclasses.replace(resolved, data=_with_excluded_ids(resolved.data))
    _check_together(resolved)
    return resolved


def _with_excluded_ids(data: DataConfig) -> DataConfig:
    """``data`` with the ids themselves for ``exclude=@FILE``: a config that is kept must not change with a file."""
    if not data.exclude.startswith("@"):
        return data
    path = Path(data.exclude[1:])
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, ValueError) as error:
        raise ConfigError(f"config.data.exclude={data.exclude}: {path} cannot be read ({error}).") from None
    if not any(lines):
        raise ConfigError(f"config.data.exclude={data.exclude}: {path} names no video.")
    # One a line, for an id may hold a comma; the last line's end marks the form where there is one id.
    return dataclasses.replace(data, exclude="".join(f"{line}\n" for line in lines if line))


def excluded_ids(data: DataConfig) -> tuple[str, ...]:
    """The ids of ``config.data.exclude``, sorted."""
    separator = "\n" if "\n" in data.exclude else ","
    return tuple(sorted({part.strip() for part in data.exclude.split(separator)} - {""}))


def _resolve(cls: type, values: Mapping[str, Any], prefix: str) -> Any:
    if not isinstance(values, Mapping | ConfigDict):
        raise ConfigError(f"{f'config.{prefix}'.rstrip('.')} is a group of keys, not {_shown(values)}.")
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    arguments = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"Unknown key config.{prefix}{name}{nearest(f'{prefix}{name}')}")
        if dataclasses.is_dataclass(hints[name]):
            arguments[name] = _resolve(hints[name], value, f"{prefix}{name}.")
        else:
            arguments[name] = _checked(f"{prefix}{name}", value, hints[name], fields[name].metadata)
    return cls(**arguments)


def _checked(name: str, value: Any, hint: Any, metadata: Mapping[str, Any]) -> Any:
    if get_origin(hint) is tuple:
        element = get_args(hint)[0]
        if not isinstance(value, tuple | list) or not all(_is_a(v, element) for v in value):
            raise ConfigError(f"config.{name} must be a sequence of {element.__name__}, not {_shown(value)}.")
        return tuple(_usable(name, v, element) for v in value)
    if not _is_a(value, hint):
        raise ConfigError(f"config.{name} must be {hint.__name__}, not {_shown(value)} ({type(value).__name__}).")
    low, high, choices = metadata["low"], metadata["high"], metadata["choices"]
    if choices and value not in choices:
        close = difflib.get_close_matches(str(value), choices, 1)
        hint_text = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"config.{name} must be one of {', '.join(choices)}, not {_shown(value)}.{hint_text}")
    # Written so that NaN fails it.
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = f"at least {low:g}" + (f" and at most {high:g}" if high is not None else "")
        raise ConfigError(f"config.{name} must be {bounds}, not {_shown(value)}.")
    return _usable(name, value, hint)


def _usable(name: str, value: Any, kind: type) -> Any:
    """``value`` as ``kind``, if arrays, files and JSON can hold it."""
    if kind is str:
        if "\0" in value or value.encode("utf-8", "ignore").decode() != value:
            raise ConfigError(f"config.{name} must be text that a file can hold, not {_shown(value)}.")
        return value
    if kind is not bool and not abs(value) <= _LARGEST[kind]:
        raise ConfigError(f"config.{name} must be a number that is finite and not that large, not {_shown(value)}.")
    return kind(value)


# A whole number must fit into 32 bits, as those that compute have it.
_LARGEST = {int: 2**31 - 1, float: sys.float_info.max}
_MOST_SHOWN = 80


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # A number of more digits than Python writes.
        return "that number"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _is_a(value: Any, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _check_together(config: Config) -> None:
    data = config.data
    if not data.clip_starts:
        raise ConfigError("config.data.clip_starts is empty: name the first frame of at least one clip.")
    last = max(data.clip_starts) + (data.clip_length - 1) * data.clip_stride + 1
    if config.task != "vspp" and (last > data.window or min(data.clip_starts) < 0):
        raise ConfigError(
            f"config.data.clip_starts={_shown(data.clip_starts)} with config.data.clip_length={data.clip_length} and "
            f"config.data.clip_stride={data.clip_stride} leave the window of "
            f"{data.window} frames: raise config.data.window to {last} or move the clips."
        )
    if data.window_mode == "linspace" and (data.max_shift or config.evaluate.views > 1):
        raise ConfigError(
            "config.data.window_mode=linspace covers the whole video: set config.data.max_shift=0 and "
            "config.evaluate.views=1."
        )
    if config.task == "score":
        _check_head(config)
    _check_adapter(config)
    if config.train.clip_chunk and config.model.batch_norm == "batch":
        raise ConfigError(
            "config.train.clip_chunk is exact only where a clip's features depend on that clip alone: set "
            "config.model.batch_norm=frozen, or config.train.clip_chunk=0 (config.train.remat=blocks saves memory with "
            "batch statistics too)."
        )
    if config.task == "motion" and not config.motion.columns:
        raise ConfigError("config.motion.columns is empty: name the columns that config.task=motion regresses.")
    if data.validation_fraction == 0 and config.evaluate.selection == "best_on_validation":
        raise ConfigError(
            "config.evaluate.selection=best_on_validation needs config.data.validation_fraction > 0 "
            "(or choose config.evaluate.selection=last)."
        )
    if config.evaluate.selection == "best_on_test" and not config.evaluate.track_test:
        raise ConfigError("config.evaluate.selection=best_on_test needs config.evaluate.track_test=True.")


def _check_head(config: Config) -> None:
    head = config.head
    if head.name not in HEAD_NAMES and ":" not in head.name:
        close = difflib.get_close_matches(head.name, HEAD_NAMES, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(
            f"config.head.name must be one of {', '.join(HEAD_NAMES)}, or a head of your own as "
            f"package.module:make_head, not {head.name!r}.{hint}"
        )
    if len(head.hidden) != 2:
        raise ConfigError(f"config.head.hidden must be two widths, as the papers' heads have, not {head.hidden}.")
    if head.target == "judges" and head.name != "dae_mt":
        raise ConfigError("config.head.target=judges needs config.head.name=dae_mt: the others' target is fixed.")
    if head.spread_weight and head.name != "dae_mt":
        raise ConfigError(
            "config.head.spread_weight needs config.head.name=dae_mt (dae_judges always uses the spread)."
        )
    if head.model_error == "one" and head.name != "dae_judges" and not (head.name == "dae_mt" and head.spread_weight):
        raise ConfigError(
            "config.head.model_error=one leaves sigma to the judges' noise: it needs config.head.name=dae_judges, or "
            "dae_mt with config.head.spread_weight."
        )
    if head.name in ("usdl", "musdl") and not head.lowest < head.highest:
        raise ConfigError(f"config.head.lowest={head.lowest} must be below config.head.highest={head.highest}.")
    if config.evaluate.mc_samples and not head.dropout:
        raise ConfigError("config.evaluate.mc_samples needs config.head.dropout > 0: without it all passes are one.")


def _check_adapter(config: Config) -> None:
    adapter, trainable = config.adapter, config.train.trainable
    unknown = [block for block in adapter.blocks if block not in BLOCKS]
    if unknown:
        raise ConfigError(f"config.adapter.blocks has no {', '.join(unknown)}; the blocks are {', '.join(BLOCKS)}.")
    if trainable == "adapters" and (adapter.kind == "none" or not adapter.blocks):
        raise ConfigError("config.train.trainable=adapters, but there are none: set config.adapter.kind=3d or lora.")
    final = config.model.final_endpoint
    behind = [block for block in adapter.blocks if BLOCKS.index(block) > BLOCKS.index(final)]
    if adapter.kind != "none" and behind and adapter.blocks != BLOCKS:
        raise ConfigError(
            f"config.adapter.blocks: {', '.join(behind)} come behind config.model.final_endpoint={final}."
        )
    if adapter.kind == "none" and adapter.file:
        raise ConfigError("config.adapter.file needs config.adapter.kind: 3d or lora, as the file was trained with.")
    if config.task == "vspp" and config.data.shuffle_time and config.data.still:
        raise ConfigError("config.data.shuffle_time and config.data.still are two controls: choose one.")


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """``(dotted key, value, meaning)`` of every leaf of a resolved config, in order."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from walk(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value, field.metadata["doc"]


def nearest(name: str) -> str:
    """`` : did you mean …?`` for a misspelt dotted key, or a full stop."""
    known = [key for key, _, _ in walk(Config())]
    last = name.rsplit(".", 1)[-1]
    close = difflib.get_close_matches(name, known, 1, 0.5)
    close = close or [
        k
        for k in known
        if k.rsplit(".", 1)[-1] in difflib.get_close_matches(last, [k.rsplit(".", 1)[-1] for k in known], 1)
    ]
    return f": did you mean config.{close[0]}?" if close else "."


def render(config: Config) -> str:
    """Every key with its value and meaning, one a line."""
    lines = []
    for key, value, doc in walk(config):
        shown = f"config.{key} = {value!r}"
        lines.append(f"{shown:<52}  # {doc}")
    return "\n".join(lines)


def to_json(config: Config) -> str:
    """The resolved config as indented JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def read_json(path: Path) -> ConfigDict:
    """The config kept in a workdir, ready to be overridden.

    Raises:
      ConfigError: there is none, or it is not valid JSON.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"No config at {path}: give --config configs/NAME.py, or the --workdir of a run.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON ({error}).") from None
    return ConfigDict(dataclasses.asdict(resolve(values))).lock()


# Keys that say where and how fast, not what: they do not change a result.
_NOT_THE_RESULT = (
    "data.data_dir", "data.raw_dir", "data.threads", "data.cache_mb", "train.log_every", "train.cpu_devices",
    "crossval", "predict", "report", "serve", "export",
)  # fmt: skip


# Keys that runs of earlier versions do not have: at their defaults they leave a fingerprint as it was.
_ADDED_LATER = {"data.exclude": "", "data.base_options": "", "model.final_endpoint": "Mixed_5c"}


def changes_the_result(key: str) -> bool:
    """Whether a dotted key says what is computed, and not only where, how fast, or what is done with it."""
    return not any(key == name or key.startswith(name + ".") for name in _NOT_THE_RESULT)


def fingerprint(config: Config) -> str:
    """Twelve hexadecimal digits that two runs share if their results should be the same."""
    kept = {k: v for k, v, _ in walk(config) if changes_the_result(k)}
    kept = {k: v for k, v in kept.items() if k not in _ADDED_LATER or v != _ADDED_LATER[k]}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def differences(a: Config, b: Config, *, of_results: bool = False) -> list[str]:
    """The keys on which two configs differ, as ``key: a -> b``; ``of_results``: those alone that change a result."""
    other = {k: v for k, v, _ in walk(b) if changes_the_result(k) or not of_results}
    return [f"config.{k}: {v!r} -> {other[k]!r}" for k, v, _ in walk(a) if k in other and v != other[k]]


def all_options(data: DataConfig) -> dict[str, str]:
    """The builder's options: the config file's own, changed by those that were given."""
    return builder_options(data.base_options) | builder_options(data.options)


def builder_options(text: str) -> dict[str, str]:
    """``"key=value,key=value"`` as a dict.

    Raises:
      ConfigError: a part has no ``=``.
    """
    options = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"config.data.options: {part!r} is not key=value.")
        options[name.strip()] = value.strip()
    return options
