"""The grammar: what a config accepts, what it refuses and how it says so."""

import dataclasses
import importlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from aqa_jax import config as config_lib
from aqa_jax.errors import ConfigError

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted(p.stem for p in (ROOT / "configs").glob("*.py") if p.stem not in ("__init__", "from_workdir"))


def test_every_key_has_a_meaning_and_a_valid_default():
    resolved = config_lib.resolve(config_lib.default_config())
    for key, _, doc in config_lib.walk(resolved):
        assert len(doc) > 5, key
    assert config_lib.render(resolved).count("\n") + 1 == len(list(config_lib.walk(resolved)))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_resolves_and_says_what_it_is(name):
    module = importlib.import_module(f"configs.{name}")
    assert "python run.py --config configs/" in module.__doc__
    config_lib.resolve(module.get_config())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": {"learning_rat": 1.0}}, r"Unknown key .*rat: did you mean config\.optimizer\.learning_rate"),
        ({"trian": {}}, r"Unknown key config\.trian"),
        ({"train": {"batch_size": 2.5}}, r"config\.train\.batch_size must be int, not 2\.5"),
        ({"train": {"batch_size": True}}, r"config\.train\.batch_size must be int, not True"),
        ({"data": {"flip": 1}}, r"config\.data\.flip must be bool, not 1"),
        ({"train": {"batch_size": 0}}, r"config\.train\.batch_size must be at least 1, not 0"),
        ({"optimizer": {"learning_rate": float("nan")}}, r"must be at least 0, not nan"),
        ({"head": {"name": "dea_mt"}}, r"package\.module:make_head, not 'dea_mt'\. Did you mean 'dae_mt'"),
        ({"data": {"clip_starts": (0, 90)}}, r"raise config\.data\.window to 106"),
        ({"data": {"clip_starts": ("a",)}}, r"must be a sequence of int"),
        ({"data": {"clip_starts": ()}}, r"clip_starts is empty"),
        ({"data": 3}, r"config\.data is a group of keys, not 3"),
        ({"head": {"target": "judges"}}, r"needs config\.head\.name=dae_mt"),
        ({"data": {"validation_fraction": 0.0}}, r"needs config\.data\.validation_fraction > 0"),
        ({"evaluate": {"selection": "best_on_test"}}, r"needs config\.evaluate\.track_test=True"),
        # What a fuzzer found (scripts/reliability/configs.py).
        ({"optimizer": {"learning_rate": 10**400}}, r"config\.optimizer\.learning_rate must be a number that"),
        ({"head": {"lowest": float("nan")}}, r"config\.head\.lowest must be a number that is finite"),
        ({"data": {"max_shift": 10**400}}, r"config\.data\.max_shift must be a number that is finite"),
        ({"data": {"data_dir": "a\0b"}}, r"config\.data\.data_dir must be text that a file can hold"),
        ({"data": {"builder": "\ud800"}}, r"config\.data\.builder must be text that a file can hold"),
        ({(): 2}, r"Unknown key config\.\(\)"),
        ({"data": {"clip_stride": 8 * 10**7}}, r"config\.data\.clip_stride=80000000 leave the window"),
        ({"task": "motion"}, r"config\.motion\.columns is empty"),
    ],
)  # fmt: skip
def test_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.resolve(values)


@pytest.mark.parametrize("data", [b"\xde\xea", b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}", b"{", b"[]"])
def test_a_damaged_config_file_is_refused_in_words(tmp_path, data):
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(ConfigError, match=r"is not valid JSON|is a group of keys"):
        config_lib.read_json(tmp_path / "config.json")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        config_lib.read_json(tmp_path)


# ml_collections loads a config file by a deprecated call.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_two_hundred_odd_configs_give_a_run_or_a_word_about_the_key(tmp_path, capsys):
    script = runpy.run_path(str(ROOT / "scripts" / "reliability" / "configs.py"))
    assert script["main"](["--n", "200", "--output", str(tmp_path / "configs.json")]) == 0, capsys.readouterr().out


def test_a_workdirs_config_reads_back(tmp_path):
    changed = config_lib.default_config()
    changed.train.batch_size = 16
    changed.data.clip_starts = (0, 16)
    resolved = config_lib.resolve(changed)
    path = tmp_path / "config.json"
    path.write_text(config_lib.to_json(resolved))
    assert config_lib.resolve(config_lib.read_json(path)) == resolved
    path.write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        config_lib.read_json(path)


def test_fingerprint_follows_what_changes_the_result_and_nothing_else():
    base = config_lib.resolve({})
    seed = dataclasses.replace(base, seed=1)
    elsewhere = dataclasses.replace(base, data=dataclasses.replace(base.data, data_dir="other", threads=3))
    assert config_lib.fingerprint(base) != config_lib.fingerprint(seed)
    assert config_lib.fingerprint(base) == config_lib.fingerprint(elsewhere)
    both = dataclasses.replace(elsewhere, seed=1)
    assert config_lib.differences(base, both, of_results=True) == ["config.seed: 0 -> 1"]
    assert config_lib.differences(base, both)[1:] == [
        "config.data.data_dir: 'data' -> 'other'",
        "config.data.threads: 0 -> 3",
    ]


def test_given_options_change_those_of_the_config_file():
    given = {"data": {"base_options": "height=36,width=36", "options": "width=64,leak=allow"}}
    options = config_lib.all_options(config_lib.resolve(given).data)
    assert options == {"height": "36", "width": "64", "leak": "allow"}


def test_builder_options():
    assert config_lib.builder_options("a=1, b=x=y") == {"a": "1", "b": "x=y"}
    with pytest.raises(ConfigError, match="'c' is not key=value"):
        config_lib.builder_options("c")


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.optimizer.learning_rat=1"], "did you mean config.optimizer.learning_rate?"),
        (["--config.train.batch_size=many"], "config.train.batch_size"),
        (["--config.train.batch_size=0"], "must be at least 1"),
        (["--mode=trian"], "train"),
        ([], "--mode train needs --workdir"),
        (["stray"], "Unexpected argument 'stray'"),
    ],
)
def test_a_wrong_command_line_is_answered_in_words(arguments, message):
    result = run("--config", str(ROOT / "configs" / "quickstart.py"), *arguments)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "configs/quikstart.py"], "did you mean configs/quickstart.py"),
        (["--workdir", "no_such_run", "--mode", "evaluate"], "No config at no_such_run"),
        ([], "Give --config configs/NAME.py"),
    ],
)
def test_a_missing_config_is_answered_in_words(arguments, message):
    result = run(*arguments)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_mode_config_prints_every_key(tmp_path):
    result = run("--config", str(ROOT / "configs" / "quickstart.py"), "--config.seed=7", "--mode", "config")
    assert result.returncode == 0, result.stderr
    assert "config.seed = 7" in result.stdout
    keys = [key for key, _, _ in config_lib.walk(config_lib.resolve({}))]
    assert all(f"config.{key} = " in result.stdout for key in keys)
    # From a workdir alone, too.
    values = json.loads(config_lib.to_json(config_lib.resolve({"seed": 9})))
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert "config.seed = 9" in run("--workdir", str(tmp_path), "--mode", "config").stdout
