"""Builds, trains, evaluates; perhaps scores rendered files."""

import dataclasses
import os

import jax

from aqa_jax.modes import predict
from aqa_jax.modes.request import Request, check_single_run


def run(request: Request) -> int:
    """Builds the dataset if need be, trains, evaluates, and (``config.predict.samples``) scores rendered files."""
    from aqa_jax.train import final
    from aqa_jax.train.loop import train as train_loop

    config, workdir = request.config, request.workdir
    check_single_run(workdir)
    run = train_loop(config, workdir)
    content = final.evaluate_run(run, workdir, workdir / "evaluation")
    if jax.process_index() > 0:
        return 0
    print(final.summary(content))
    if config.predict.samples and jax.process_count() > 1:
        # A checkpoint is restored by all hosts or by none, and the others are done.
        print("config.predict.samples: several hosts score no files; --mode predict on one of them does.")
    elif config.predict.samples:
        _score_samples(request)
    print(f"Results: {workdir / 'evaluation'}")
    return 0


def _score_samples(request: Request) -> None:
    """Renders unseen videos to files and scores them: the whole way that a stranger's video goes."""
    from aqa_jax.data import build

    config = request.config
    builder = build.builder_class(config.data.builder)
    folder = request.workdir / "sample_videos"
    difficulties = builder.write_samples(folder, config.predict.samples)
    predict.run(dataclasses.replace(request, inputs=(os.fspath(folder),), difficulties=os.fspath(difficulties)))
