"""Nothing at run time asks a network for anything; what FFmpeg may open is in tests/data/test_decode.py."""

import socket

import numpy as np
import pytest

from aqa_jax import weights
from aqa_jax.data import decode
from aqa_jax.predict.inputs import find_videos
from aqa_jax.predict.predict import predict
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.train.initial import STARTER
from tests.predict.untrained import configured


def test_nothing_is_asked_of_a_network(untrained_workdir, tmp_path, monkeypatch):
    asked = []

    def refuse(*arguments, **options):
        asked.append(arguments)
        raise OSError("no network")

    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    with socket.socket() as one, pytest.raises(OSError, match="no network"):
        one.connect(("127.0.0.1", 9))
    asked.clear()
    decode.write_video(tmp_path / "a.avi", [np.full((40, 48, 3), 9 * i, np.uint8) for i in range(12)])
    scorer = RunScorer(configured(), untrained_workdir)
    report = predict(
        find_videos(tmp_path / "a.avi"),
        scorer,
        tmp_path / "out",
        form=scorer.input_format,
        batch_size=2,
        progress=False,
    )
    assert report.exit_code == 0 and len(report.rows) == 1
    assert "a weight file" in weights.describe(STARTER)
    assert not asked
