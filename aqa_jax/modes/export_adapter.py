"""Writes a run's adapters into a file."""

from aqa_jax.errors import ConfigError
from aqa_jax.modes.request import Request


def run(request: Request) -> int:
    """Writes the adapters of a run, with all that must be known to attach them, into one file."""
    from aqa_jax.train.adapter import adapter_of_run

    if request.output is None:
        raise ConfigError("--mode export_adapter needs --workdir RUN and --output FILE.safetensors.")
    adapter = adapter_of_run(request.workdir, request.config.evaluate.selection)
    adapter.write(request.output)
    print(f"{request.output}: {adapter.describe()}")
    return 0
