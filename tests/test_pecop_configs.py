"""PECoP's configs: every file and variant resolves, the schedule is the original's, one runs from csv to figures."""

import importlib
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from aqa_jax import config as config_lib
from aqa_jax import modes
from aqa_jax.data.decode import write_video
from aqa_jax.errors import ConfigError, DataError
from aqa_jax.evaluate.protocol import protocol
from aqa_jax.modes import Request
from aqa_jax.tasks import make_task
from aqa_jax.train.checkpoints import Checkpoints
from aqa_jax.train.optimizer import make_schedule
from aqa_jax.train.run import Run, restored_like
from configs import jigsaws_dae, pecop, pecop_pd4t_gait

FILES = sorted(p.stem for p in Path(pecop.__file__).parent.glob("*.py") if p.stem not in ("__init__", "from_workdir"))
DUMMY = Path(__file__).parents[1] / "data_builders"
STARTED = (
    "jigsaws_dae",
    "mtl_aqa_dae_mt_pecop",
    *(f"pd4t_{task}_dae" for task in ("gait", "finger", "hand", "leg", "all")),
)


def words(name):
    """What may stand after the colon; empty: nothing."""
    if name.startswith("pecop"):
        return pecop.VARIANTS
    return pecop.STARTS if name in STARTED else ()


@pytest.mark.parametrize("name", FILES)
def test_every_config_resolves(name):
    module = importlib.import_module(f"configs.{name}")
    plain = config_lib.resolve(module.get_config())
    make_task(plain)
    for number, word in enumerate(words(name)):
        config = config_lib.resolve(module.get_config(word))
        make_task(config)
        assert (config == plain) == (number == 0), word


@pytest.mark.parametrize("name", [name for name in FILES if words(name) in (pecop.VARIANTS, pecop.STARTS)])
def test_an_unknown_word_after_the_colon(name):
    with pytest.raises(ConfigError, match=f"'papr'; this config knows {', '.join(words(name))}"):
        importlib.import_module(f"configs.{name}").get_config("papr")


@pytest.mark.parametrize(("variant", "rate", "low", "epochs"), [
    ("paper", 1e-3, 1e-6, 8), ("code", 1e-2, 1e-6, 8), ("hpt", 1e-3, 1e-6, 16),
])  # fmt: skip
def test_learning_rates_are_those_of_the_original(variant, rate, low, epochs):
    """After every epoch: torch's CosineAnnealingLR(T_max=22, eta_min=1e-6)."""
    config = config_lib.resolve(pecop.get_config(variant))
    assert config.train.epochs == epochs
    schedule = make_schedule(config.optimizer, epochs * 100)
    expected = [low + (rate - low) * (1 + math.cos(math.pi * epoch / 22)) / 2 for epoch in range(epochs + 1)]
    np.testing.assert_allclose([float(schedule(epoch * 100)) for epoch in range(epochs + 1)], expected, rtol=1e-5)


def test_folds_are_chosen_when_a_run_starts(tmp_path):
    changes = {
        "data.raw_dir": str(DUMMY / "jigsaws" / "dummy_data"),
        "data.data_dir": str(tmp_path),
        "data.options": "task=Suturing,height=24,width=32",
        "data.crop": 24,
        "data.validation_fraction": 0.0,
        "evaluate.selection": "last",
    }

    def run(where):
        config = jigsaws_dae.get_config()
        config.update_from_flattened_dict(changes | {"data.test_where": where})
        return Run(config_lib.resolve(config))

    rows = run("fold=3").rows
    assert {split: some.tolist() for split, some in rows.items()} == {"train": [0], "validation": [], "test": [1]}
    assert "jigsaws: test on trial=1;" in protocol(run("trial=1"))
    with pytest.raises(ConfigError, match=r"jigsaws has no test split: choose .* config\.data\.test_where"):
        run("").rows  # noqa: B018
    with pytest.raises(DataError, match="takes all 2 videos"):
        run("group=B").rows  # noqa: B018


@pytest.mark.parametrize("key", ["data.max_shift", "evaluate.views"])
def test_a_window_over_the_whole_video_has_no_shifts(key):
    config = jigsaws_dae.get_config()
    config.update_from_flattened_dict({key: 3})
    with pytest.raises(ConfigError, match=r"linspace covers the whole video: set config\.data\.max_shift=0"):
        config_lib.resolve(config)


def test_adapters_learn_from_the_videos_of_a_csv(tmp_path, capsys):
    rng = np.random.default_rng(0)
    raw = tmp_path / "PD4T"
    for split, patients in (("train", ("001", "002", "003")), ("test", ("004",))):
        lines = []
        for number, patient in enumerate(patients * 2):
            visit = f"14-00{number}{patient}"
            folder = raw / "Videos" / "Gait" / patient
            folder.mkdir(parents=True, exist_ok=True)
            write_video(folder / f"{visit}.mp4", rng.integers(0, 256, (20, 36, 64, 3), np.uint8), 25)
            lines.append(f"{visit}_{patient},20,{number % 3}\n")
        path = raw / "Annotations" / "Gait" / f"{split}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines))
    config = pecop_pd4t_gait.get_config()
    changes = {
        "data.raw_dir": str(raw),
        "data.data_dir": str(tmp_path / "data"),
        "data.options": "task=gait,check_counts=false,height=36,width=64",
        "data.clip_length": 16,
        "data.crop": 32,
        "data.repeats": 2,
        "data.validation_fraction": 0.3,
        "model.width": 0.05,
        "model.final_endpoint": "Mixed_3c",
        "train.batch_size": 2,
        "train.epochs": 1.0,
        "evaluate.bootstrap": 10,
    }
    config.update_from_flattened_dict(changes)
    config = config_lib.resolve(config)
    workdir = tmp_path / "run"
    assert modes.run("train", Request(config, workdir)) == 0
    # An epoch is two passes over the four videos that validation leaves.
    content = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    assert content["checkpoint_step"] == 4 and content["videos"] == {"train": 4, "validation": 2, "test": 2}
    metrics = content["metrics"]
    assert metrics["paces"] == [1, 2, 4, 5]
    for name in ("segment", "pace"):
        assert 0 <= metrics[f"{name}_accuracy"] <= 1
        confusion = np.array(metrics[f"{name}_confusion"])
        assert confusion.shape == (4, 4) and confusion.sum() == pytest.approx(1)
    assert "mean_accuracy" in capsys.readouterr().out

    run = Run(config)
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = checkpoints.restore_state(4, restored_like(run))
    checkpoints.close()
    before = run.initial_groups
    kernel = ("i3d", "Mixed_3b", "b1a", "conv", "kernel")
    np.testing.assert_array_equal(at(state["frozen"], kernel), at(before["frozen"], kernel))
    scale = ("i3d", "Mixed_3b", "adapter", "scale")
    assert not np.array_equal(at(state["trainable"], scale), at(before["trainable"], scale))
    mean = ("i3d", "Conv3d_1a_7x7", "bn", "mean")
    assert not np.array_equal(at(state["stats"], mean), at(before["stats"], mean))


def at(tree, path):
    for name in path:
        tree = tree[name]
    return np.asarray(tree)


def test_the_commands_of_the_page_are_possible():
    page = (DUMMY.parent / "docs" / "pecop.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", page, re.S)
    commands = [line for block in blocks for line in block.replace("\\\n", "").splitlines() if "--config " in line]
    assert len(commands) > 8
    for command in commands:
        name, word = re.search(r"--config configs/(\w+)\.py(?::(\w+))?", command).groups()
        module = importlib.import_module(f"configs.{name}")
        config = module.get_config(word) if word else module.get_config()
        config.update_from_flattened_dict(dict(re.findall(r"--config\.([\w.]+)=(\S+)", command)))
        config_lib.resolve(config)
    known = {f"config.{key}" for key, _, _ in config_lib.walk(config_lib.Config())}
    assert set(re.findall(r"`(config\.\w+\.\w+)", page)) <= known
