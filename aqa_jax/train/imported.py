"""A weight file, or the backbone of a run, as a safetensors file and as a workdir to evaluate or start from."""

import json
from pathlib import Path

import numpy as np

from aqa_jax import config as config_lib
from aqa_jax import weights
from aqa_jax.config import Config
from aqa_jax.errors import ConfigError
from aqa_jax.files import write_json
from aqa_jax.train import state as states
from aqa_jax.train.adapter import training_data
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.chosen import restore_chosen
from aqa_jax.train.exemplars import has_bank, refreshed
from aqa_jax.train.initial import speaks_scores, with_file
from aqa_jax.train.run import Run
from aqa_jax.weights.adapter_file import GROUPS_KEY


def import_weights(config: Config, source: Path, output: Path) -> str:
    """Converts ``source`` for the model of ``config``.

    Writes ``weights.safetensors`` (flat names, float32), ``config.json`` and ``checkpoints/0`` (Orbax) into ``output``,
    so that ``--workdir OUTPUT --mode evaluate --config.evaluate.selection=last`` evaluates a published model. From a
    run's workdir the backbone is taken; from a file also the head, if it has one for this model. Heads of exemplars
    (CoRe) need the dataset too.

    Returns:
      The table of what went where.

    Raises:
      ConfigError: ``output`` holds a run already, or the head in the file predicts raw scores and the config does not.
      WeightsError: the file cannot be read, or does not fit.
    """
    if (output / "config.json").exists():
        raise ConfigError(f"{output} already holds a run: name another folder with --output.")
    output.mkdir(parents=True, exist_ok=True)
    run = Run(config)
    if (source / "config.json").is_file():
        flat, metadata = run_backbone(source)
        path = output / "weights.safetensors"
        weights.write_safetensors(path, flat, metadata)
        groups, report = with_file(run.assembler.init(), path, head=False)
    else:
        if config.adapter.file:
            raise ConfigError(
                "config.adapter.file is read when a training starts, together with config.model.weights: import the "
                "weights without it (--config.adapter.file='')."
            )
        groups = run.assembler.init()
        if has_bank(groups):
            # No weight file holds CoRe's intervals and exemplars: they are the training videos'.
            groups = run.initial_groups
        groups, report = with_file(groups, source, head=config.task == "score")
        groups = refreshed(run, groups)
        metadata = weights.provenance(source)
        if source.suffix == ".safetensors":
            before = weights.read_safetensors(source)[1]
            metadata |= {GROUPS_KEY: before[GROUPS_KEY]} if GROUPS_KEY in before else {}
        kept = states.flat(groups, ("trainable", "frozen", "stats"))
        if "head" not in report.groups():
            kept = {name: leaf for name, leaf in kept.items() if name.startswith("i3d/")}
        elif not speaks_scores(config.head):
            raise ConfigError(
                "The head in this file predicts raw scores: import it with --config.head.standardise=False "
                "--config.head.sigma_floor=0."
            )
        flat = {name: np.asarray(leaf) for name, leaf in kept.items()}
        weights.write_safetensors(output / "weights.safetensors", flat, metadata)
    checkpoints = Checkpoints(output / "checkpoints")
    checkpoints.save_model(0, {"step": np.zeros((), np.int32), **groups}, {"history": [{"step": 0}]})
    checkpoints.close()
    write_json(output / "config.json", json.loads(config_lib.to_json(config)))
    return report.table()


def run_backbone(workdir: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The flat backbone of the checkpoint that a run's selection rule chooses, and where it came from."""
    config = config_lib.resolve(config_lib.read_json(workdir / "config.json"))
    run = Run(config)
    chosen, state = restore_chosen(run, workdir)
    merged = states.flat(state, ("trainable", "frozen", "stats"))
    flat = {path: np.asarray(leaf) for path, leaf in merged.items() if path.startswith("i3d/")}
    metadata = {
        "source": f"{config.task} on {config.data.builder}",
        "config_hash": config_lib.fingerprint(config),
        "dialect": config.model.dialect,
        "width": str(config.model.width),
        "selection": json.dumps(chosen.to_dict()),
    }
    if trained_on := training_data(workdir, chosen):
        metadata[GROUPS_KEY] = json.dumps(trained_on["groups"])
    return flat, metadata
