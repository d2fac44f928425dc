"""Evaluates a trained run again."""

import jax

from aqa_jax import config as config_lib
from aqa_jax.errors import ConfigError
from aqa_jax.modes.request import Request, check_single_run


def run(request: Request) -> int:
    """Evaluates a trained run again, perhaps under changed keys: then into a folder of its own."""
    from aqa_jax.train import final
    from aqa_jax.train.run import Run

    config, workdir = request.config, request.workdir
    check_single_run(workdir)
    kept = config_lib.resolve(config_lib.read_json(workdir / "config.json"))
    changed = config_lib.differences(kept, config, of_results=True)
    if config_lib.fingerprint(kept) != config_lib.fingerprint(config) and request.output is None:
        raise ConfigError(
            "Evaluating under other keys than the run was trained with:\n  " + "\n  ".join(changed) + "\n"
            "Name a folder for the result with --output, so that the run's own stays."
        )
    content = final.evaluate_run(Run(config), workdir, request.output or workdir / "evaluation")
    if jax.process_index() == 0:
        print(final.summary(content))
    return 0
