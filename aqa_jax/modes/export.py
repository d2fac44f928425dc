"""Writes a run into one file."""

from aqa_jax.errors import ConfigError
from aqa_jax.modes.request import Request, check_single_run


def run(request: Request) -> int:
    """Writes a run's model, and all that scoring with it needs, into one file: a bundle."""
    from aqa_jax.bundle.writer import export_run

    if request.output is None or request.output.suffix != ".aqa":
        raise ConfigError("--mode export needs --workdir RUN and --output FILE.aqa.")
    if request.workdir.is_file():
        raise ConfigError(f"{request.workdir} is a bundle already; --workdir names the run that it is made of.")
    check_single_run(request.workdir)
    digest = export_run(request.config, request.workdir, request.output)
    print(f"{request.output}: {request.output.stat().st_size:,} bytes, digest {digest}")
    return 0
