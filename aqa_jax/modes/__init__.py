"""What each ``--mode`` of run.py does: a module a mode, each with ``run(request) -> exit code``.

A module imports what it needs when it runs: scoring a file should not wait for what only training uses.
"""

import importlib

from aqa_jax.errors import ConfigError
from aqa_jax.modes.request import Request

MODES = (
    "train", "evaluate", "crossval", "compare", "predict", "build", "check", "import_weights", "export_adapter",
    "inspect", "export", "report", "serve", "show", "doctor",
)  # fmt: skip


def run(mode: str, request: Request) -> int:
    """Does what ``mode`` says; the process's exit code.

    Raises:
      ConfigError: there is no such mode, or it lacks something on the command line.
    """
    if mode not in MODES:
        raise ConfigError(f"--mode must be one of {', '.join(MODES)}, not {mode!r}.")
    if request.workdir.is_file() and mode in ("train", "evaluate", "crossval", "export_adapter"):
        raise ConfigError(f"{request.workdir} is a bundle: --mode predict scores with it, --mode inspect describes it.")
    return importlib.import_module(f"aqa_jax.modes.{mode}").run(request)
