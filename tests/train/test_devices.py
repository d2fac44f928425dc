"""A CPU is taken for as many devices as its cores can share the batch by."""

import os
import subprocess
import sys

import pytest

from aqa_jax import config as config_lib
from aqa_jax.train import devices


def chosen(monkeypatch, cores, processes=1, head="regression", **train):
    monkeypatch.setattr(devices, "cores", lambda: cores)
    config = config_lib.default_config()
    config.head.name = head
    config.train.update(train)
    return devices.cpu_devices(config_lib.resolve(config), processes)


@pytest.mark.parametrize(
    ("cores", "batch_size", "expected"),
    [(1, 8, 1), (2, 8, 2), (2, 1, 1), (3, 8, 2), (4, 6, 3), (64, 32, 8), (16, 7, 7), (4, 5, 1)],
)
def test_every_device_has_as_many_videos(monkeypatch, cores, batch_size, expected):
    assert chosen(monkeypatch, cores, batch_size=batch_size) == expected


@pytest.mark.parametrize(("batch_size", "expected"), [(2, 1), (4, 2), (6, 1), (8, 2), (3, 1)])
def test_pairs_of_videos_stay_together(monkeypatch, batch_size, expected):
    assert chosen(monkeypatch, 2, head="core", batch_size=batch_size) == expected


def test_several_hosts_share_the_batch_first(monkeypatch):
    assert chosen(monkeypatch, 4, processes=2, batch_size=4) == 2
    assert chosen(monkeypatch, 4, processes=2, batch_size=3) == 1


def test_a_choice_counts_and_small_memories_have_one(monkeypatch):
    assert chosen(monkeypatch, 4, batch_size=8, cpu_devices=2) == 2
    assert chosen(monkeypatch, 4, batch_size=8, clip_chunk=2) == 1
    assert chosen(monkeypatch, 4, batch_size=8, clip_chunk=2, cpu_devices=4) == 4


@pytest.mark.parametrize(
    ("crop", "width", "trainable", "expected"),
    [(32, 1.0, "all", 1), (32, 1.0, "head", 4), (112, 1.0, "all", 2), (112, 0.5, "all", 4), (224, 1.0, "all", 4)],
)
def test_a_small_share_is_no_gain_where_everything_is_updated(monkeypatch, crop, width, trainable, expected):
    monkeypatch.setattr(devices, "cores", lambda: 4)
    config = config_lib.default_config()
    config.data.crop, config.model.width, config.train.trainable, config.train.batch_size = crop, width, trainable, 8
    # Eight clips of 16 frames.
    config.data.clip_starts, config.data.window = (0,), 16
    assert devices.cpu_devices(config_lib.resolve(config)) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("", "", 3), ("JAX_NUM_CPU_DEVICES", "2", 2), ("XLA_FLAGS", "--xla_force_host_platform_device_count=4", 4)],
)
def test_the_environment_counts_more(name, value, expected):
    code = (
        "import jax; from aqa_jax import config; from aqa_jax.train import devices; c = config.default_config(); "
        "c.train.cpu_devices = 3; devices.share_among_cores(config.resolve(c)); print(jax.device_count())"
    )
    kept = {key: v for key, v in os.environ.items() if key not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    environment = {**kept, "JAX_PLATFORMS": "cpu", **({name: value} if name else {})}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(ended.stdout) == expected
