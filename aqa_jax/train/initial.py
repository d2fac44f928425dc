"""The state before the first step: fresh, or with weights from a file."""

from pathlib import Path

import jax
import optax

from aqa_jax import weights
from aqa_jax.config_keys import HeadConfig
from aqa_jax.train import state as states
from aqa_jax.train.adapter import attach, check_overlap
from aqa_jax.train.run import Run
from aqa_jax.weights.adapter_file import read_groups
from aqa_jax.weights.convert import ADAPTERS, group_of

STARTER = Path(__file__).parents[1] / "starter" / "backbone.safetensors"
"""The small I3D of configs/starter.py."""


def initial_state(run: Run, optimizer: optax.GradientTransformation) -> states.State:
    """Fresh weights, replaced by those of ``config.model.weights`` and ``config.adapter.file`` where these are set.

    A head in the file is taken too where it speaks the same units (see :func:`speaks_scores`).
    Where both files hold adapters, those of ``config.adapter.file`` count.

    Raises:
      WeightsError: a file cannot be read, or does not fit.
      DataError: a file was trained on what this run tests.
    """
    groups, config, replaced = run.initial_groups, run.config, False
    if config.model.weights:
        same_head = config.task == "score" and speaks_scores(config.head)
        named = STARTER if config.model.weights == "starter" else Path(config.model.weights)
        groups, report = with_file(groups, named, head=same_head)
        check_overlap(run, _training_groups(named), f"config.model.weights={config.model.weights}")
        replaced = ADAPTERS in report.groups()
        _say(f"{config.model.weights}: {report.summary()}")
    if config.adapter.file:
        groups, adapter = attach(run, groups, Path(config.adapter.file))
        count = sum(value.size for name, value in adapter.arrays.items() if group_of(name) == ADAPTERS)
        note = ", in place of the adapters in config.model.weights" if replaced else ""
        _say(f"{config.adapter.file}: {count:,} adapter parameters and the running statistics{note}")
    return states.replicated(states.start(groups, optimizer))


def speaks_scores(head: HeadConfig) -> bool:
    """Whether a trained head means the same in another run: its outputs are no multiples of the training's spread.

    CoRe's are positions in the training scores' intervals, which its own checkpoints do not hold either.
    """
    return not head.standardise or head.name in ("usdl", "musdl", "core")


def with_file(groups: states.State, path: Path, *, head: bool) -> tuple[states.State, weights.Report]:
    """``groups`` with the backbone of a weight file and, if ``head``, the file's head where it has one; the report.

    Raises:
      WeightsError: the file cannot be read, or does not fit.
    """
    source, kind = weights.load_source(path)
    shapes = {name: leaf.shape for name, leaf in states.flat(groups, ("trainable", "frozen", "stats")).items()}
    targets = {name: shape for name, shape in shapes.items() if head or name.startswith("i3d/")}
    # A file from elsewhere has no adapters: they start fresh.
    optional = {"head", ADAPTERS} if head else {ADAPTERS}
    values, report = weights.convert(source, targets, kind, optional=optional, name=str(path))
    return states.with_values(groups, values), report


def _training_groups(path: Path) -> tuple[str, ...]:
    """Fingerprints of what the weights at ``path`` were trained on, where they say so: files of our own."""
    if path.suffix != ".safetensors":
        return ()
    return read_groups(weights.read_safetensors(path)[1], path)


def _say(line: str) -> None:
    if jax.process_index() == 0:
        print(line, flush=True)
