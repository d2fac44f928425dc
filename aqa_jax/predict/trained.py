"""What a training left that scoring needs, wherever it is kept: in a workdir, or in a bundle."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aqa_jax import config as config_lib
from aqa_jax.evaluate.selection import Selection
from aqa_jax.files import read_json
from aqa_jax.predict.trust import Trust
from aqa_jax.train.chosen import restore_chosen
from aqa_jax.train.finished import TRAINED_ON
from aqa_jax.train.run import Run
from aqa_jax.train.state import State


@dataclass(frozen=True)
class Trained:
    """The weights of a run's chosen step, and what is known of them.

    Attributes:
      config_hash: of the config that they were trained under.
      trained_on: the content of ``trained_on.json``.
      selection: the step, and the rule that chose it.
      state: the model's arrays, in groups.
      trust: recalibration and familiarity.
      origin: what else result files say of where the weights come from.
    """

    config_hash: str
    trained_on: dict[str, Any]
    selection: Selection
    state: State
    trust: Trust
    origin: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_run(cls, run: Run, workdir: Path) -> "Trained":
        """Reads a workdir.

        Raises:
          CheckpointError: there is no checkpoint, or it does not fit the run's config.
          DataError: the workdir's description of its training data is missing, or a file of its evaluation damaged.
        """
        trained_on = read_json(workdir / "trained_on.json", TRAINED_ON)
        selection, state = restore_chosen(run, workdir, on_host=True)
        trust = Trust.of_run(run.config, workdir, selection.step)
        return cls(config_lib.fingerprint(run.config), trained_on, selection, state, trust)
