"""From a run's workdir to a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax import config as config_lib
from aqa_jax.bundle import card, container, members
from aqa_jax.config import Config
from aqa_jax.errors import ConfigError
from aqa_jax.evaluate import recalibration as recalibrations
from aqa_jax.evaluate import results
from aqa_jax.evaluate.protocol import without_ids
from aqa_jax.predict.trained import Trained
from aqa_jax.train.run import Run
from aqa_jax.train.state import flat

# What is told of the evaluation: figures, no video's name.
_METRICS_KEPT = (
    "schema", "split", "protocol", "selection", "checkpoint_step", "config_hash", "dataset_fingerprint", "seed",
    "num_examples", "metrics", "videos", "recalibration", "raw", "familiarity",
)  # fmt: skip


def export_run(config: Config, workdir: Path, output: Path) -> str:
    """Writes the checkpoint that ``config.evaluate.selection`` chooses, and all that scoring needs, into one file.

    The same run gives the same file to the byte.

    Returns:
      The file's digest.

    Raises:
      ConfigError: the run does not score videos.
      CheckpointError, DataError: the run is not whole.
      BundleError: the file cannot be written.
    """
    if config.task != "score":
        raise ConfigError(f"{workdir} was trained with config.task={config.task}: it does not score videos.")
    run = Run(config)
    trained = Trained.of_run(run, workdir)
    settings = config.export
    weights = {name: np.asarray(leaf) for name, leaf in flat(trained.state).items()}
    frame_size = tuple(trained.trained_on["frame_size"])
    content: dict[str, bytes] = {
        members.CONFIG: members.to_json(members.shareable_config(config)),
        members.PREPROCESSING: members.to_json(members.preprocessing(config, frame_size)),
        members.TRAINED_ON: members.to_json(
            members.shareable_training(
                trained.trained_on, scores=settings.training_scores, fingerprints=settings.fingerprints
            )
        ),
        members.WEIGHTS: members.arrays_to_bytes(weights),
    }
    metrics = _metrics(config, trained, workdir)
    if metrics is not None:
        content[members.METRICS] = members.to_json(metrics)
    if (learnt := trained.trust.recalibration) is not None:
        content[members.RECALIBRATION] = members.to_json({"schema": recalibrations.SCHEMA, **learnt.to_dict()})
    if (near := trained.trust.familiarity) is not None and settings.familiarity:
        content[members.FAMILIARITY] = members.familiarity_to_bytes(near)
    if settings.stablehlo:
        from aqa_jax.bundle.program import export_program

        content[members.PROGRAM] = export_program(config, trained)
    needs_difficulty = "difficulty" in run.task.columns
    text = card.model_card(config, trained, metrics, content, needs_difficulty=needs_difficulty)
    content[members.CARD] = text.encode()
    content[members.MANIFEST] = members.to_json(
        {
            "schema": members.MANIFEST_SCHEMA,
            "config_hash": trained.config_hash,
            "selection": trained.selection.to_dict(),
            "why_raw": trained.trust.why_raw,
            "versions": results.versions(),
            "members": {
                name: {"bytes": len(content[name]), "sha256": members.sha256(content[name])}
                for name in members.LIMITS
                if name in content
            },
        }
    )
    return container.write(output, {name: content[name] for name in members.LIMITS if name in content})


def _metrics(config: Config, trained: Trained, workdir: Path) -> dict[str, Any] | None:
    """The run's own evaluation of these weights under this config, None where there is none."""
    path = workdir / "evaluation" / "metrics.json"
    if not path.exists():
        return None
    found = results.read_metrics(path)
    if (found["checkpoint_step"], found["config_hash"]) != (trained.selection.step, config_lib.fingerprint(config)):
        return None
    return {key: _shareable(found[key], config) for key in _METRICS_KEPT if key in found}


def _shareable(value: Any, config: Config) -> Any:
    """Without folders of this machine and ids of videos."""
    if isinstance(value, Mapping):
        return {key: _shareable(item, config) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    value = value.replace(config.data.builder, members.without_folders(config.data.builder))
    if config.data.test_where:
        value = value.replace(config.data.test_where, members.nameless(config.data.test_where))
    return without_ids(value, config)
