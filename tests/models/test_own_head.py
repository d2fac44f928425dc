"""A head of somebody's own: one short file, named in the config, trains and is evaluated as any other."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax.errors import ConfigError
from aqa_jax.models.heads import head_maker
from aqa_jax.train import loop
from aqa_jax.train.final import evaluate_run
from tests.models import own_head
from tests.tiny import STEPS, tiny_config


def test_it_is_short():
    assert len(Path(own_head.__file__).read_text().splitlines()) < 40


def test_it_trains_and_is_evaluated(tmp_path):
    # The backbone stays as it is: its gradient would take most of the test's time to compile.
    changes = {"head.name": "tests.models.own_head:make_own", "train.trainable": "head"}
    config = config_lib.resolve(tiny_config(tmp_path / "data", **changes))
    workdir = tmp_path / "run"
    run = loop.train(config, workdir)
    evaluate_run(run, workdir, workdir / "evaluation")
    lines = [json.loads(line) for line in (workdir / "logs" / "train.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == STEPS
    assert np.isfinite(losses).all()
    with (workdir / "evaluation" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    scale = run.labels("train")["score"].std()
    sigma, difficulty = (np.array([float(row[name]) for row in rows]) for name in ("sigma", "difficulty"))
    # As the head says, before recalibration if there is any: one factor for all.
    ratio = sigma / (scale * difficulty / 3)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)


@pytest.mark.parametrize("name", ["tests.models.own_head:make_mine", "tests.models.no_head:make_own"])
def test_a_name_that_leads_nowhere(name):
    with pytest.raises(ConfigError, match=r"named as package\.module:make_head"):
        head_maker(name)
