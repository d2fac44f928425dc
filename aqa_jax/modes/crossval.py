"""A run for every fold and seed."""

import jax

from aqa_jax.modes.request import Request


def run(request: Request) -> int:
    """A run for every fold and seed, and the table of them; 1 if a run failed."""
    from aqa_jax.evaluate import crossval as crossval_table
    from aqa_jax.train import crossval as cross_validation

    # This process only plans and waits: it must not take a GPU's memory from those that train.
    jax.config.update("jax_platforms", "cpu")
    planned = cross_validation.plan(request.config)
    finished = cross_validation.cross_validate(planned, request.workdir)
    print(crossval_table.table(crossval_table.write(planned, request.workdir)))
    print(f"Results: {request.workdir / crossval_table.RESULT}")
    return 0 if finished else 1
