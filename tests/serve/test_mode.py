"""What --mode serve says before it serves."""

import dataclasses
import socket
import sys

import pytest

from aqa_jax import modes
from aqa_jax.config import Config
from aqa_jax.config_keys import ServeConfig
from aqa_jax.errors import ConfigError


def test_a_missing_library_is_named_with_its_cure(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"needs uvicorn.*requirements-serve\.txt"):
        modes.run("serve", modes.Request(Config(), tmp_path))


def test_a_taken_port_is_said_before_a_model_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = dataclasses.replace(Config(), serve=ServeConfig(port=port))
        with pytest.raises(ConfigError, match=rf"config\.serve\.port={port} cannot be used"):
            modes.run("serve", modes.Request(config, tmp_path))
