"""The state before the first step: fresh, or with weights from a file."""

from pathlib import Path

import jax
import optax

from aqa_jax import weights
from aqa_jax.train import state as states
from aqa_jax.train.run import Run

STARTER = Path(__file__).parents[1] / "starter" / "backbone.safetensors"
"""The small I3D of configs/starter.py."""


def initial_state(run: Run, optimizer: optax.GradientTransformation) -> states.State:
    """Fresh weights, replaced by those of ``config.model.weights`` where that is set.

    A head in the file is taken too where it speaks the same units: raw scores, ``config.head.standardise=False``.
    """
    groups, config = run.initial_groups, run.config
    if config.model.weights:
        same_head = config.task == "score" and not config.head.standardise
        named = STARTER if config.model.weights == "starter" else Path(config.model.weights)
        groups, table = with_file(groups, named, head=same_head)
        if jax.process_index() == 0:
            print(f"{config.model.weights}: {table.splitlines()[0]}", flush=True)
    return states.start(groups, optimizer)


def with_file(groups: states.State, path: Path, *, head: bool) -> tuple[states.State, str]:
    """``groups`` with the backbone of a weight file and, if ``head``, the file's head where it has one; the report.

    Raises:
      WeightsError: the file cannot be read, or does not fit.
    """
    source, kind = weights.load_source(path)
    shapes = {name: leaf.shape for name, leaf in states.flat(groups, ("trainable", "frozen", "stats")).items()}
    targets = {name: shape for name, shape in shapes.items() if head or name.startswith("i3d/")}
    # A file from elsewhere has no adapters: they start fresh.
    optional = {"head", "i3d/adapters"} if head else {"i3d/adapters"}
    values, report = weights.convert(source, targets, kind, optional=optional, name=str(path))
    return states.with_values(groups, values), report.table()
