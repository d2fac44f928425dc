"""Builds the dataset."""

from aqa_jax.modes.request import Request


def run(request: Request) -> int:
    """Builds the dataset."""
    from aqa_jax.train.run import build_dataset

    print(build_dataset(request.config))
    return 0
