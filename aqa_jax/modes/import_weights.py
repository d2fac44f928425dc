"""Takes over foreign weights."""

from pathlib import Path

from aqa_jax.errors import ConfigError
from aqa_jax.modes.request import Request


def run(request: Request) -> int:
    """Converts a weight file (or a run's workdir) into an Orbax checkpoint and a safetensors file."""
    from aqa_jax.train import imported

    if not request.weights or request.output is None:
        raise ConfigError("--mode import_weights needs --weights FILE (or a run's workdir) and --output DIR.")
    print(imported.import_weights(request.config, Path(request.weights), request.output))
    return 0
