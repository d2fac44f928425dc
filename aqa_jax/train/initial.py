"""The state before the first step: fresh, or with weights from a file."""

from pathlib import Path

import jax
import optax

from aqa_jax import weights
from aqa_jax.train import state as states
from aqa_jax.train.run import Run


def initial_state(run: Run, optimizer: optax.GradientTransformation) -> states.State:
    """Fresh weights, replaced by those of ``config.model.weights`` where that is set."""
    groups = run.initial_groups
    if run.config.model.weights:
        groups, table = with_file(groups, Path(run.config.model.weights))
        if jax.process_index() == 0:
            print(table, flush=True)
    return states.start(groups, optimizer)


def with_file(groups: states.State, path: Path) -> tuple[states.State, str]:
    """``groups`` with the backbone of a weight file, and its head if the file has one for this model; the report.

    Raises:
      WeightsError: the file cannot be read, or does not fit.
    """
    source, kind = weights.load_source(path)
    shapes = {name: leaf.shape for name, leaf in states.flat(groups, ("trainable", "frozen", "stats")).items()}
    backbone = {name: shape for name, shape in shapes.items() if name.startswith("i3d/")}
    values, report = weights.convert(source, backbone, kind)
    return states.with_values(groups, values), report.table()
