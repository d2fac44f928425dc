"""A run's videos are decoded once, as far as memory allows."""

import dataclasses

import numpy as np

from aqa_jax import config as config_lib
from aqa_jax.train.run import Run
from tests.tiny import tiny_config


def test_what_a_run_keeps_in_memory(tmp_path, monkeypatch):
    config = config_lib.resolve(tiny_config(tmp_path, **{"data.cache_mb": 64}))
    run = Run(config)
    assert run.training_fits_into_cache
    once = list(run.batches_of("test"))
    window, crop = run.window, config.data.crop
    frames = len(np.unique(window.frames(0)))
    assert run.frame_cache.num_bytes == len(run.rows["test"]) * frames * crop**2 * 3

    def refuse(split, positions):
        assert not positions, "read from disk"
        return []

    with monkeypatch.context() as patch:
        patch.setattr(run.store, "_records", refuse)
        for first, second in zip(once, run.batches_of("test"), strict=True):
            assert all(np.array_equal(first[name], second[name]) for name in first)
    next(run.batches_for_training())
    assert run.frame_cache.num_bytes > len(run.rows["test"]) * frames * crop**2 * 3

    # Where not everything fits, the evaluation's videos are kept alone: the training's, read first, would fill it.
    del run.frame_cache
    run.frame_cache.max_bytes = len(run.rows["train"]) * frames * crop**2 * 3
    assert not run.training_fits_into_cache
    next(run.batches_for_training())
    assert run.frame_cache.num_bytes == 0
    list(run.batches_of("test"))
    assert run.frame_cache.num_bytes > 0


def test_the_size_of_the_cache_is_no_part_of_the_result():
    config = config_lib.resolve({})
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, cache_mb=0))
    assert config_lib.fingerprint(other) == config_lib.fingerprint(config)
