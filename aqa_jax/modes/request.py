"""What a command line asks for."""

import dataclasses
from pathlib import Path

from aqa_jax.config import Config
from aqa_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Request:
    """One command line: the config and what stands beside it."""

    config: Config
    workdir: Path
    inputs: tuple[str, ...] = ()
    output: Path | None = None
    weights: str = ""
    difficulties: str = ""
    runs: tuple[str, ...] = ()
    allow_different_protocols: bool = False

    @property
    def predictions(self) -> Path:
        """Where scores go: ``--output``, else into the run's folder, or into one beside a bundle."""
        beside = self.workdir.with_name(f"{self.workdir.stem}_predictions")
        return self.output or (beside if self.workdir.is_file() else self.workdir / "predictions")


def check_single_run(workdir: Path) -> None:
    """Raises ConfigError where ``workdir`` holds a cross-validation instead of one run."""
    from aqa_jax.train.finished import is_crossval

    if is_crossval(workdir):
        raise ConfigError(f"{workdir} holds a cross-validation: --mode crossval goes on with it; name one of its runs.")
