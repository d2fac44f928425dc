"""Configs that nobody should write: does each give a run, or a ConfigError that names the key?

Keys of every group with values of every type, impossible and extreme ones, unknown and misplaced keys, damaged
config.json files, command lines, and options of builders. What resolves goes on to the splits, the window and the
length of a run over a small dataset, and reads back from its own JSON as it was.
"""

import contextlib
import dataclasses
import io
import json
import re
import sys
import tempfile
import traceback
import typing
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
import common
import hypothesis
from absl import flags, logging
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from ml_collections import config_flags

from aqa_jax import command_line
from aqa_jax import config as config_lib
from aqa_jax.config_keys import Config
from aqa_jax.data import build
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import AqaError, ConfigError
from aqa_jax.train.run import Run

TOY = common.REPO / "tests" / "data" / "toy_videos"
CONFIGS = common.REPO / "configs"
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 10**9, 2**31, 2**63, -(2**70), 10**400, 0.0, 0.5, -0.5, 1e-300, 1e300, 1.5,
    float("nan"), float("inf"), -float("inf"), "", " ", "0", "1", "nan", "true", "None", "\0", "\n", "..", "/", "@",
    "@x", "a" * 5000, "\ud800", "é", "=", "a=b", "a=", ",", ",,", "[]", "{}", "__class__", (), (0,), (1, 2), (-1,),
    ("a",), (None,), (0.5,), ((1,),), (10**400,), [], [1], [float("nan")], {}, {"a": 1}, {1: 2}, b"x", 1j, object(),
]  # fmt: skip


def leaves(cls: type, prefix: str = "") -> list[tuple[str, Any, dict]]:
    """(dotted key, type, metadata) of every key."""
    found = []
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            found += leaves(hints[field.name], f"{prefix}{field.name}.")
        else:
            found.append((f"{prefix}{field.name}", hints[field.name], dict(field.metadata)))
    return found


KEYS = leaves(Config)
GROUPS = sorted({key.rsplit(".", 1)[0] for key, _, _ in KEYS if "." in key})


def values_of(kind: Any, metadata: dict) -> st.SearchStrategy:
    """Values of the right type, often at the edge of what is allowed, and sometimes odd ones."""
    odd = st.sampled_from(ODD)
    choices = metadata["choices"]
    if choices:
        return st.sampled_from(choices) | st.sampled_from([c[:-1] for c in choices]) | odd
    low = metadata["low"] if metadata["low"] is not None else -10
    high = metadata["high"] if metadata["high"] is not None else low + 1000
    if kind is bool:
        return st.booleans() | odd
    if kind is int:
        near = st.integers(int(low) - 2, int(high) + 2)
        return near | st.integers(-(2**40), 2**40) | odd
    if kind is float:
        return st.floats(float(low), float(high)) | st.floats() | st.integers(-5, 5) | odd
    if kind is str:
        return st.text(max_size=12) | st.sampled_from(["dae", "core", "fold=0", "group=g1", "train+x", "+"]) | odd
    element = typing.get_args(kind)[0]
    inner = st.integers(-3, 120) if element is int else st.text(max_size=8) if element is str else st.floats(0, 9)
    return st.lists(inner, max_size=5).map(tuple) | odd


@st.composite
def settings(draw) -> dict[str, Any]:
    """One to four keys with a value each."""
    chosen = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique_by=lambda key: key[0]))
    return {key: draw(values_of(kind, metadata)) for key, kind, metadata in chosen}


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """By group, as a config is."""
    whole: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, name = key.split(".")
        at = whole
        for group in groups:
            at = at.setdefault(group, {})
        at[name] = value
    return whole


BROKEN = st.one_of(
    st.tuples(st.sampled_from(GROUPS), st.sampled_from(ODD)).map(lambda pair: nested({pair[0]: pair[1]})),
    st.tuples(st.sampled_from([*GROUPS, ""]), st.text(max_size=10) | st.sampled_from([1, None, (), "window"])).map(
        lambda pair: nested({f"{pair[0]}.x": 1}) | {pair[1]: 2} if pair[0] else {pair[1]: 2}
    ),
    st.sampled_from(KEYS).flatmap(
        lambda key: st.integers(0, len(key[0]) - 1).map(lambda k: nested({key[0][:k] + key[0][k + 1 :]: 1}))
    ),
)
JSON_TEXT = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
    st.integers(1, 40).map(lambda k: json.dumps(dataclasses.asdict(Config())).encode()[: -k * 20]),
    st.just(b"[" * 100_000),
    st.just(b'{"seed": ' + b"9" * 5000 + b"}"),
)
ARGUMENTS = st.lists(
    st.tuples(
        st.sampled_from([key for key, _, _ in KEYS]) | st.sampled_from(GROUPS) | st.text("abcdw.[]0_-", max_size=10),
        st.text(max_size=8) | st.sampled_from(["1e400", "nan", "(0,)", "0,1", "None", "1", "", "[", "'", "0x", "True"]),
    ).map(lambda pair: f"--config.{pair[0]}={pair[1]}"),
    min_size=1,
    max_size=3,
)
OPTIONS = st.tuples(
    st.sampled_from(["synthetic_dives", "mtl_aqa", "pd4t", "jigsaws", "folder", "no_such", "", "..", "a/b"]),
    st.text("abcdefghiklmnopstuvwxyz_=,0123456789. -", max_size=24)
    | st.sampled_from(["height=0", "height=-1", "window=x", "task=", "=", "exclude=", "train_videos=9" + "9" * 30]),
)


@dataclasses.dataclass
class Tally:
    """What came of the cases."""

    counts: Counter = dataclasses.field(default_factory=Counter)
    failures: dict[str, str] = dataclasses.field(default_factory=dict)

    def take(self, what: str, case: Any, call: Any, names: Any = None) -> None:
        """Runs a case; `names`: whether the message of its ConfigError says which key."""
        try:
            call()
            self.counts[f"{what}: fine"] += 1
            return
        except ConfigError as error:
            if names is None or names(str(error)):
                self.counts[f"{what}: ConfigError"] += 1
                return
            kind, text = "a ConfigError without the key", str(error)
        except AqaError as error:
            if what in ("run", "options"):  # The data's say, as of a column that is not there.
                self.counts[f"{what}: {type(error).__name__}"] += 1
                return
            kind, text = type(error).__name__, str(error)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind, text = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}", str(error)[:200]
        self.counts[f"{what}: FAILED"] += 1
        self.failures.setdefault(f"{what}: {kind}", f"{case!r:.300}: {text:.300}")


def resolve_and_read_back(values: Any) -> Config:
    """A config, the same after its JSON."""
    config = config_lib.resolve(values)
    text = config_lib.to_json(config)
    text.encode()
    again = config_lib.resolve(json.loads(text))
    if again != config or config_lib.fingerprint(again) != config_lib.fingerprint(config):
        raise AssertionError("reads back as another config")
    return config


def use(config: Config, store: VideoStore) -> None:
    """A run as far as it goes without a model, which takes seconds to trace."""
    from aqa_jax.train.loop import check_selectable, lengths

    with mock.patch("aqa_jax.train.run.Assembler"):
        run = Run(config)
    run.store = store
    assert all(len(rows) for split, rows in run.rows.items() if split != "validation")
    run.window.reach(store.table.column("num_frames"))
    run.check_columns()
    run.labels("train")
    lengths(run)
    check_selectable(run)
    run.trained_on()


def parse(arguments: list[str]) -> None:
    """As run.py does: a message in words, or a config."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values, lock_config=True)
    argv = ["run.py", f"--config={CONFIGS / 'quickstart.py'}", *arguments]
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            values(argv)
        config = values.config
    except (flags.Error, TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error
    except (AttributeError, KeyError) as error:
        raise ConfigError(command_line.explain_unknown(argv, error)) from error
    resolve_and_read_back(config)


def fuzz(n: int, seed: int, folder: Path) -> Tally:
    """`n` cases in all."""
    tally, logging_before = Tally(), logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    store = VideoStore.open(build.build(str(TOY), data_dir=folder / "data", workers=0))
    path = folder / "config.json"
    base = {
        "data.builder": str(TOY), "data.window": 20, "data.clip_starts": (0, 4), "data.crop": 24,
        "data.validation_fraction": 0.3, "train.batch_size": 4, "head.standardise": False,
    }  # fmt: skip

    def keys_named(flat: dict[str, Any]) -> Any:
        return lambda text: any(f"config.{key}" in text for key in flat)

    def some_key(text: str) -> bool:
        return bool(re.search(r"config(\.\w|\b)", text))

    def settings_case(flat: dict[str, Any]) -> None:
        tally.take("settings", flat, lambda: resolve_and_read_back(nested(flat)), keys_named(flat))

    def run_case(flat: dict[str, Any]) -> None:
        with contextlib.suppress(ConfigError):
            config = config_lib.resolve(nested(base | flat))
            tally.take("run", flat, lambda: use(config, store), some_key)
            return
        tally.counts["run: refused before"] += 1

    def file_case(data: bytes) -> None:
        path.write_bytes(data)
        tally.take("file", data, lambda: config_lib.read_json(path))

    def options_case(pair: tuple[str, str]) -> None:
        name, text = pair
        tally.take(
            "options", pair, lambda: build.make_config(build.builder_class(name), config_lib.builder_options(text))
        )

    parts: list[tuple[float, st.SearchStrategy, Any]] = [
        (0.4, settings(), settings_case),
        (0.3, settings(), run_case),
        (0.1, BROKEN, lambda values: tally.take("unknown", values, lambda: config_lib.resolve(values), some_key)),
        (0.05, JSON_TEXT, file_case),
        (0.1, ARGUMENTS, lambda some: tally.take("command line", some, lambda: parse(some), lambda text: bool(text))),
        (0.05, OPTIONS, options_case),
    ]
    for share, strategy, case in parts:
        test = hypothesis.given(strategy)(case)
        test = hypothesis.settings(
            max_examples=max(round(n * share), 1), database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(test)  # fmt: skip
        hypothesis.seed(seed)(test)()
    logging.set_verbosity(logging_before)
    return tally


def main(argv: list[str] | None = None) -> int:
    """The row."""
    args = common.options(__doc__, 20_000).parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        tally = fuzz(args.n, args.seed, Path(folder))
    for kind, example in sorted(tally.failures.items()):
        print(f"{kind}\n    {example}")
    return common.finish(
        "configs", n=tally.counts.total(), passed=not tally.failures, counts=dict(sorted(tally.counts.items())),
        output=args.output, seed=args.seed, failures=tally.failures,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
