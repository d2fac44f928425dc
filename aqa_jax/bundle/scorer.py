"""From a bundle's file to a scorer. Nothing that a bundle says is believed: all of it is checked before use."""

from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from aqa_jax import config as config_lib
from aqa_jax.bundle import members
from aqa_jax.bundle.reader import Reader
from aqa_jax.bundle.training_data import MAX_TEXT, check_sizes, text, training_data
from aqa_jax.config import Config
from aqa_jax.config_keys import HEAD_NAMES
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.evaluate import recalibration as recalibrations
from aqa_jax.evaluate.selection import RULES, Selection
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.trained import Trained
from aqa_jax.predict.trust import Trust
from aqa_jax.train.run import Run
from aqa_jax.train.state import GROUPS, State, flat


def open_bundle(path: Path, config: Config | None = None) -> RunScorer:
    """A scorer of the model in a bundle: what ``RunScorer`` is of a workdir, to the bit.

    Args:
      path: the file.
      config: the bundle's own (:func:`read_config`), with other ``predict`` keys perhaps; None: the bundle's own.

    Raises:
      BundleError: the file is damaged, changed, or holds what a bundle may not.
      ConfigError: ``config`` differs in what makes the result, or the head is somebody's own and is not allowed.
    """
    reader = Reader(path)
    kept = reader.config()
    config = config or kept
    if config_lib.fingerprint(config) != config_lib.fingerprint(kept):
        changed = "\n  ".join(config_lib.differences(kept, config, of_results=True))
        raise ConfigError(
            f"{path} is one model, scored in one way; only config.predict keys may be changed, not\n  {changed}\n"
            "Change them where the run is, and export again."
        )
    if kept.head.name not in HEAD_NAMES and not config.predict.allow_own_head:
        raise ConfigError(
            f"{path} needs a head that is not part of this library, config.head.name={kept.head.name}: scoring would "
            "import and run that code of this machine. If you know it, install it where python finds it, and say "
            "--config.predict.allow_own_head=True."
        )
    check_sizes(reader, kept)
    trained_on = training_data(reader, kept)
    form = members.preprocessing(kept, tuple(trained_on["frame_size"]))
    told = reader.json(members.PREPROCESSING, members.PREPROCESSING_SCHEMA)
    if differing := [key for key in sorted({*form, *told}) if form.get(key) != told.get(key)]:
        raise reader.refused(
            f"aqa_jax {reader.made_with} made it and prepared videos otherwise ({', '.join(differing)[:MAX_TEXT]}): "
            "score with that version"
        )
    run = Run(config)
    return RunScorer(config, _trained(reader, run, trained_on), run)


def _trained(reader: Reader, run: Run, trained_on: dict[str, Any]) -> Trained:
    recalibration = familiarity = None
    try:
        if reader.has(members.RECALIBRATION):
            content = reader.json(members.RECALIBRATION, recalibrations.SCHEMA)
            recalibration = recalibrations.Recalibration.from_dict(content)
        if reader.has(members.FAMILIARITY):
            familiarity = members.bytes_to_familiarity(reader.read(members.FAMILIARITY))
    except DataError as error:
        raise reader.refused(f"its {members.RECALIBRATION} or {members.FAMILIARITY}: {error}") from None
    try:
        told = reader.manifest
        selection = Selection(**{key: told["selection"][key] for key in ("rule", "step", "metric", "split", "value")})
        config_hash, why_raw = text(told["config_hash"]), text(told["why_raw"])
        if selection.rule not in RULES or not isinstance(selection.step, int):
            raise ValueError("selection")
    except (KeyError, TypeError, ValueError) as error:
        raise reader.refused(f"its manifest lacks what it must say ({error!r})") from None
    return Trained(
        config_hash, trained_on, selection, _state(reader, run), Trust(recalibration, why_raw, familiarity),
        {"bundle": {"file": reader.path.name, "sha256": reader.digest}},
    )  # fmt: skip


def _state(reader: Reader, run: Run) -> State:
    """The model's arrays, in groups: exactly those that the config's model has."""
    abstract = run.assembler.abstract
    expected = flat(abstract)
    size = sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in expected.values())
    # Names and shapes lie before the numbers.
    if not 0 <= reader.size(members.WEIGHTS) - size <= 2**20:
        raise reader.refused(f"{members.WEIGHTS} are not those of its config's model, which have {size:,} bytes")
    try:
        arrays = members.bytes_to_arrays(reader.read(members.WEIGHTS))
    except DataError as error:
        raise reader.refused(f"{members.WEIGHTS}: {error}") from None
    if odd := arrays.keys() ^ expected.keys():
        raise reader.refused(f"{len(odd)} of its arrays are not those of its config's model, as {min(odd)[:80]}")
    for name, leaf in expected.items():
        if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
            raise reader.refused(f"{name} has another shape or type than in its config's model")
    state: dict[str, Any] = {"step": np.int32(reader.manifest["selection"]["step"])}
    for group in GROUPS:
        names = traverse_util.flatten_dict(abstract[group], sep="/")
        state[group] = traverse_util.unflatten_dict({name: arrays[name] for name in names}, sep="/")
    return state
