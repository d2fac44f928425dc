"""Shows a dataset, and what a config makes of it."""

from pathlib import Path

from aqa_jax.modes.request import Request


def run(request: Request) -> int:
    """Prints the splits in figures, and writes pictures of the videos, the scores and the model's input."""
    from aqa_jax.show.show import show
    from aqa_jax.train.run import Run

    config = request.config
    # An empty --workdir is the path ".".
    own = request.workdir / "show" if request.workdir != Path() else Path("runs/show", Path(config.data.builder).name)
    for line in show(Run(config), request.output or own):
        print(line, flush=True)
    return 0
