"""What run.py asks about its command line beyond what the flags library answers.

Nothing large is imported before it is needed: the first question comes before all else.
"""

from collections.abc import Sequence
from pathlib import Path

from aqa_jax.errors import ConfigError


def explain_unknown(argv: Sequence[str], error: Exception) -> str:
    """What to say when a ``--config.key`` on the command line could not be set: the nearest right key."""
    from aqa_jax import config as config_lib

    known = {key for key, _, _ in config_lib.walk(config_lib.Config())}
    for argument in argv:
        if argument.startswith("--config."):
            name = argument.removeprefix("--config.").partition("=")[0]
            if name not in known:
                return f"Unknown key config.{name}{config_lib.nearest(name)}"
    return str(error)


def flag_value(argv: Sequence[str], name: str) -> str | None:
    """What ``--name=value`` or ``--name value`` says on a command line, or None."""
    for i, argument in enumerate(argv[1:], start=1):
        flag, equals, value = argument.partition("=")
        if argument.startswith("-") and flag.lstrip("-") == name:
            return value if equals else "".join(argv[i + 1 : i + 2])
    return None


def check_file(given: str) -> None:
    """Raises ConfigError where ``--config`` names no file; the nearest one is named."""
    path = Path(given.partition(":")[0])
    if not path.is_file():
        import difflib

        there = sorted(str(p) for p in path.parent.glob("*.py") if p.stem not in ("__init__", "from_workdir"))
        close = difflib.get_close_matches(str(path), there, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(there) or 'none in that folder'}."
        raise ConfigError(f"No config file {path}: {hint}")
