"""Says what a file of weights or adapters is."""

from pathlib import Path

from aqa_jax.errors import ConfigError, printable
from aqa_jax.modes.request import Request


def run(request: Request) -> int:
    """Prints what a bundle, an adapter file, a run's adapters or a weight file is."""
    from aqa_jax import bundle
    from aqa_jax import weights as weight_files
    from aqa_jax.train.adapter import load_adapter

    if not request.weights:
        raise ConfigError("--mode inspect needs --weights FILE (or a run's workdir, for its adapters).")
    path = Path(request.weights)
    if path.suffix == ".aqa":
        print(printable(bundle.describe(path)))
    elif (path / "config.json").is_file():
        print(printable(f"{path}: {load_adapter(path).describe()}"))
    else:
        print(printable(weight_files.describe(path)))
    return 0
