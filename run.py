"""The one entry point.

    python run.py --config configs/NAME.py [--config.key=value ...] --workdir DIR [--mode train]
    python run.py --workdir DIR --mode evaluate
    python run.py --workdir DIR --mode predict --input FILE|FOLDER|GLOB
    python run.py --mode compare RUN RUN ...
    python run.py --workdir DIR --mode check
    python run.py --workdir DIR --mode report|serve
    python run.py --config configs/NAME.py --mode show
    python run.py --mode doctor

Modes: train (default), evaluate, crossval, compare, predict, build, check, import_weights, export, export_adapter,
inspect, report, serve, show, doctor, config.
"""

import sys

from aqa_jax import allocation, command_line

if __name__ == "__main__":
    # Before anything is loaded that would be loaded again.
    allocation.restart(scoring=command_line.flag_value(sys.argv, "mode") in ("predict", "serve"))
    allocation.collect_rarely()

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags, logging
from ml_collections import config_flags

from aqa_jax import stopping
from aqa_jax.modes import MODES

if TYPE_CHECKING:
    from aqa_jax.config import Config

FROM_WORKDIR = Path(__file__).parent / "configs" / "from_workdir.py"

_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.", lock_config=True)
_MODE = flags.DEFINE_enum("mode", "train", (*MODES, "config"), "What to do.")
_WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder: config, checkpoints, results. predict: or a bundle.")
_INPUT = flags.DEFINE_multi_string("input", [], "predict: a video, folder, glob, @LIST, - or camera; may be repeated.")
_OUTPUT = flags.DEFINE_string(
    "output",
    "",
    "predict, evaluate, import_weights, export, export_adapter, compare, report, serve, show, check, doctor: where "
    "results go.",
)
_WEIGHTS = flags.DEFINE_string("weights", "", "import_weights, inspect: the weight file, or a run's workdir.")
_DIFFICULTIES = flags.DEFINE_string("difficulties", "", "predict: a CSV of file and difficulty.")
_ALLOW = flags.DEFINE_bool("allow_different_protocols", False, "compare: mark other protocols instead of refusing.")
_COORDINATOR = flags.DEFINE_string("coordinator", "", "Several hosts: host:port of process 0.")
_PROCESSES = flags.DEFINE_integer("processes", 1, "Several hosts: how many processes.")
_PROCESS = flags.DEFINE_integer("process", 0, "Several hosts: this one's number.")


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags; a workdir's own config stands in for a missing --config."""
    from aqa_jax.errors import AqaError, ConfigError

    argv = list(argv)
    try:
        given = command_line.flag_value(argv, "config")
        workdir = command_line.flag_value(argv, "workdir")
        if given is not None:
            command_line.check_file(given)
        elif workdir and command_line.flag_value(argv, "mode") != "check":  # which must bear a damaged config
            argv.insert(1, f"--config={FROM_WORKDIR}:{workdir}")
        rest = flags.FLAGS(argv)
        if len(rest) > 1 and _MODE.value not in ("compare", "report"):
            raise ConfigError(f"Unexpected argument {rest[1]!r}: keys are given as --config.key=value.")
        return rest
    except AqaError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except flags.Error as error:
        sys.exit(f"{error}\nUsage:\n{__doc__}")
    except (AttributeError, KeyError) as error:
        sys.exit(f"ConfigError: {command_line.explain_unknown(argv, error)}")
    except (TypeError, ValueError) as error:
        sys.exit(f"ConfigError: {error}")


def main(argv: Sequence[str]) -> None:
    """Resolves the config and hands over to the mode."""
    from aqa_jax import config as config_lib
    from aqa_jax.errors import AqaError, ConfigError, printable
    from aqa_jax.files import storage_errors

    try:
        if _CONFIG.value is None and _MODE.value not in ("inspect", "compare", "report", "check", "doctor"):
            raise ConfigError(f"Give --config configs/NAME.py, or the --workdir of a run.\n{__doc__}")
        config = config_lib.resolve(_CONFIG.value or {})
        needed = ("train", "evaluate", "crossval", "predict", "serve", "export", "export_adapter")
        if not _WORKDIR.value and _MODE.value in needed:
            raise ConfigError(f"--mode {_MODE.value} needs --workdir DIR.")
        if _PROCESSES.value > 1 and _MODE.value == "crossval":
            raise ConfigError("--mode crossval works on one host: give each host a --workdir and seeds of its own.")
        if _PROCESSES.value > 1 and _MODE.value == "predict":
            raise ConfigError("--mode predict works on one host: give each host an --output and files of its own.")
        if _MODE.value == "config":
            print(config_lib.render(config))
        else:
            with storage_errors(_OUTPUT.value or _WORKDIR.value or "A file"):
                sys.exit(run(config, argv[1:]))
    except AqaError as error:
        sys.exit(printable(f"{type(error).__name__}: {error}"))


def run(config: "Config", arguments: Sequence[str] = ()) -> int:
    """Starts jax (on several hosts if asked to) and runs the mode; its exit code."""
    # doctor must bear a broken jax; predict has the first videos decoded while jax is loaded.
    if _MODE.value not in ("doctor", "predict"):
        import jax

        from aqa_jax import compilation

        # The same program is compiled once per machine, not once per run.
        compilation.prepare()
        if _MODE.value in ("train", "evaluate"):
            from aqa_jax.train import devices

            devices.share_among_cores(config, _PROCESSES.value)
        if _PROCESSES.value > 1:
            jax.config.update("jax_enable_preemption_service", False)  # It would swallow SIGTERM.
            jax.distributed.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)

    from aqa_jax import modes
    from aqa_jax.errors import Interrupted

    request = modes.Request(
        config, Path(_WORKDIR.value), tuple(_INPUT.value), Path(_OUTPUT.value) if _OUTPUT.value else None,
        _WEIGHTS.value, _DIFFICULTIES.value, tuple(arguments), _ALLOW.value,
    )  # fmt: skip
    try:
        return modes.run(_MODE.value, request)
    except Interrupted as error:
        print(error, file=sys.stderr)
        return stopping.EXIT_CODE


if __name__ == "__main__":
    stopping.install()
    logging.set_verbosity(logging.ERROR)
    app.run(main, flags_parser=parse)
