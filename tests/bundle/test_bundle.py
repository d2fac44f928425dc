"""A run as one file: it scores as the run does, to the bit, tells nothing it should not, and believes nothing."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from aqa_jax import bundle, modes
from aqa_jax import config as config_lib
from aqa_jax.bundle import container, members
from aqa_jax.bundle.card import model_card
from aqa_jax.bundle.program import load_program
from aqa_jax.bundle.reader import Reader
from aqa_jax.bundle.writer import export_run
from aqa_jax.errors import BundleError, ConfigError, DataError
from aqa_jax.evaluate import familiarity, recalibration, results
from aqa_jax.files import read_json, write_json
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.trained import Trained
from aqa_jax.train.run import Run
from benchmarks.predict import untrained_run
from tests.tiny import tiny_config

EXCLUDED = "c; berta, patient_anna, patient_berta"
# Programs that tests/predict/test_scorer.py compiles too.
CHANGES = {
    "head.name": "dae", "evaluate.selection": "last", "data.window": 12, "data.clip_length": 8,
    "data.clip_starts": (0, 2, 4), "data.crop": 32, "export.stablehlo": True,
    # What must not leave the house.
    "data.raw_dir": "/home/anna/clinic", "model.weights": "/home/patient anna/weights/starter.pt",
    "data.options": "table=/home/anna b/table.csv,exclude=patient_anna patient_berta",
    "data.exclude": EXCLUDED, "data.test_where": "group=patient_berta",
}  # fmt: skip
ROOT = Path(__file__).parents[2]
SCORES = [11.0, 20.0, 35.5]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir as an evaluated training leaves it, and its config."""
    workdir = tmp_path_factory.mktemp("runs") / "untrained"
    values = tiny_config("/home/anna/data", **CHANGES)
    untrained_run(values, workdir, frame_size=(40, 48))
    config = config_lib.resolve(values)
    write_json(
        workdir / "trained_on.json",
        {
            **read_json(workdir / "trained_on.json", "aqa_jax.trained_on/1"), "builder": "/home/anna/my_builder",
            "groups": ["0123456789abcdef"], "excluded": ["patient_anna"], "scores": SCORES,
            "score_range": [SCORES[0], SCORES[-1]], "videos": {"train": 3},
        },
    )  # fmt: skip
    made_under = config_lib.fingerprint(config)
    owner = {"rule": "last", "step": 0, "config_hash": made_under}
    learnt = recalibration.Recalibration(40, 1.5, 4.0, (0.5, 1.0, 2.0, 3.0), ("conformal",) * 4)
    recalibration.write(workdir / "evaluation" / "recalibration.json", learnt, owner)
    scorer = RunScorer(config, workdir)
    parts = [np.repeat(np.asarray(part), 30, 0) + np.random.default_rng(0).normal(0, 0.1, (30, part.shape[1]))
             for part in scorer.distribution(clips(1))[1]]  # fmt: skip
    familiarity.write(
        workdir / "evaluation" / "familiarity.npz", familiarity.learn(parts, neighbours=3, level=0.9), owner
    )
    results.write_metrics(
        workdir / "evaluation" / "metrics.json",
        {"num_examples": 7, "rho": 0.75, "mae": 5.5, "confidence": {"level": 0.95, "rho": [0.5, 0.875]}},
        split="test", protocol=f"dives: test on group=patient_berta; 3 video(s) EXCLUDED: {EXCLUDED}; 1 view(s)",
        selection={"rule": "last"}, config_hash=made_under, dataset_fingerprint="f", checkpoint_step=0,
        seed=0, protocol_fingerprint={"parts": {"excluded": ["patient_anna"]}},
    )  # fmt: skip
    return config, workdir


@pytest.fixture(scope="module")
def path(run, tmp_path_factory):
    config, workdir = run
    path = tmp_path_factory.mktemp("bundles") / "it.aqa"
    export_run(config, workdir, path)
    return path


def clips(count):
    return np.random.default_rng(1).integers(0, 256, (count, 3, 8, 32, 32, 3), np.uint8)


def test_a_bundle_scores_as_its_run_does_to_the_bit(run, path, monkeypatch):
    config, workdir = run
    expected = RunScorer(config, workdir)
    monkeypatch.chdir(path.parent)
    scorer = bundle.open_bundle(path)
    ours, theirs = (jax.tree.leaves(one._state) for one in (scorer, expected))
    assert len(ours) == len(theirs) > 50
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    told, wanted = scorer.score(clips(2)), expected.score(clips(2))
    for name in ("point", "mean", "sigma", "distance", "unfamiliar"):
        np.testing.assert_array_equal(getattr(told, name), getattr(wanted, name), strict=True)
    for level in (0.5, 0.9, 0.6):
        np.testing.assert_array_equal(told.interval(level), wanted.interval(level))
    assert scorer.input_format == expected.input_format
    about, wanted_about = scorer.describe(), expected.describe()
    assert about.pop("bundle") == {"file": "it.aqa", "sha256": Reader(path).digest}
    trained_on = about.pop("trained_on")
    assert trained_on["builder"] == "my_builder"
    assert trained_on["excluded"] == wanted_about.pop("trained_on")["excluded"] == 1
    assert about == wanted_about


def test_nothing_of_the_machine_or_of_a_person_is_in_it(path):
    raw = path.read_bytes()
    for secret in ("anna", "patient", "berta", "/home", str(path.parents[1]), str(ROOT), "0123456789abcdef"):
        assert secret.encode() not in raw, secret
    reader = Reader(path)
    assert reader.json(members.CONFIG)["model"]["weights"] == "starter.pt"
    assert reader.json(members.CONFIG)["data"]["options"] == "table=table.csv"
    assert "3 video(s) EXCLUDED; 1 view" in reader.json(members.METRICS)["protocol"]


def test_the_card_says_what_one_must_know(run, path, tmp_path):
    config, workdir = run
    card = Reader(path).read(members.CARD).decode()
    for words in (
        "0.75 [0.5, 0.875]", "On 7 videos of the test split. Protocol: dives: test on group=not told", "11 to 35.5",
        "conformal, learnt on 40 validation videos", "Features of 30 training videos", "The scores of the training",
        "None is stated", "for six months", "3 clips of 8 frames", "any number of videos at once",
    ):  # fmt: skip
        assert words in card, words
    assert "--config.predict.difficulty" not in card
    given = model_card(config, Trained.of_run(Run(config), workdir), None, (), needs_difficulty=True)
    assert "--input VIDEO --config.predict.difficulty=" in given and "These weights were not evaluated" in given
    settings = dataclasses.replace(
        config.export, familiarity=False, training_scores=False, fingerprints=True, licence="CC BY 4.0", stablehlo=False
    )
    export_run(dataclasses.replace(config, export=settings), workdir, tmp_path / "bare.aqa")
    reader = Reader(tmp_path / "bare.aqa")
    card = reader.read(members.CARD).decode()
    assert not reader.has(members.FAMILIARITY) and not reader.has(members.PROGRAM)
    trained_on = reader.json(members.TRAINED_ON)
    assert trained_on["groups"] == ["0123456789abcdef"] and "scores" not in trained_on
    for words in ("1 fingerprints of training groups", "CC BY 4.0", "were left out of this file"):
        assert words in card, words
    assert "Features of" not in card and "six months" not in card
    assert bundle.open_bundle(tmp_path / "bare.aqa").trust.familiarity is None
    # Every member is named, and no other.
    assert {*re.findall(r"^\| `([^`]+)` \|", card, re.M)} == {*reader.manifest["members"]} - {members.CARD}


def test_the_exported_program_scores_alike_any_number_of_videos(path):
    program = load_program(Reader(path).read(members.PROGRAM))
    wanted = bundle.open_bundle(path).score(clips(3))
    told = program(clips(3), np.ones(3, np.float32))
    assert np.ptp(wanted.mean) > 0
    np.testing.assert_allclose(told["mean"], wanted.mean, atol=1e-4, rtol=0)
    np.testing.assert_allclose(told["score"], wanted.point, atol=1e-4, rtol=0)
    np.testing.assert_allclose(told["sigma"], wanted.sigma, atol=1e-4, rtol=0)
    with pytest.raises(BundleError, match="six months"):
        load_program(b"damaged" * 99)


def test_the_commands(run, path, tmp_path, capsys):
    config, workdir = run
    request = modes.Request(config, workdir, output=tmp_path / "again.aqa")
    assert modes.run("export", request) == 0
    assert Reader(path).digest in capsys.readouterr().out
    # The same run is the same file.
    assert (tmp_path / "again.aqa").read_bytes() == path.read_bytes()
    assert modes.run("inspect", modes.Request(config, workdir, weights=str(path))) == 0
    assert "# Model card" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"--output FILE\.aqa"):
        modes.run("export", dataclasses.replace(request, output=None))
    for mode, words in (("export", "is a bundle already"), ("train", "is a bundle:")):
        with pytest.raises(ConfigError, match=words):
            modes.run(mode, dataclasses.replace(request, workdir=path))
    assert dataclasses.replace(request, workdir=path, output=None).predictions == path.parent / "it_predictions"
    kept = config_lib.resolve(bundle.read_config(path))
    with pytest.raises(ConfigError, match=r"config\.evaluate\.point: 'mean' -> 'mode'"):
        bundle.open_bundle(path, dataclasses.replace(kept, evaluate=dataclasses.replace(kept.evaluate, point="mode")))


# What an attacker writes, the digests set right again.


def forged(path, output, **changes):
    """The bundle at ``path`` with other members: bytes, None (without it), or a function of its JSON."""
    reader = Reader(path)
    content = {name: reader.read(name) for name in reader.manifest["members"]}
    for name, change in changes.items():
        member = getattr(members, name)
        if change is None:
            del content[member]
        else:
            content[member] = change if isinstance(change, bytes) else edited(content[member], change)
    manifest = dict(reader.manifest)
    manifest["members"] = {k: {"bytes": len(v), "sha256": members.sha256(v)} for k, v in content.items()}
    content[members.MANIFEST] = changes.get("MANIFEST") or json.dumps(manifest).encode()
    container.write(output, content)
    return output


def edited(content, change):
    value = json.loads(content)
    change(value)
    return json.dumps(value).encode()


def sets(*keys, to):
    def change(value):
        for key in keys[:-1]:
            value = value[key]
        value[keys[-1]] = to

    return change


def test_the_forgers_hand_is_good(path, tmp_path):
    learnt = bundle.open_bundle(forged(path, tmp_path / "as_it_was.aqa")).trust.recalibration
    assert learnt is not None and learnt.videos == 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WEIGHTS": None}, r"it lacks weights\.safetensors"),
        ({"MANIFEST": b'{"schema": "aqa_jax.bundle/1", "members": {}}'}, "its manifest lists other members"),
        ({"MANIFEST": b'{"schema": "aqa_jax.bundle/2"}'}, r"schema 'aqa_jax\.bundle/2'"),
        ({"MANIFEST": b"[" * 30_000}, "is not JSON"),
        ({"CONFIG": b"[]"}, "is no JSON object"),
        ({"CONFIG": sets("model", "widht", to=1)}, r"Unknown key config\.model\.widht: did you mean"),
        ({"CONFIG": sets("data", "exclude", to="@/etc/passwd")}, "its config excludes videos"),
        ({"CONFIG": sets("model", "width", to=4.0)}, "are not those of its config's model"),
        ({"CONFIG": sets("data", "crop", to=2**20)}, "more memory than any model"),
        ({"CONFIG": sets("data", "crop", to=256)}, "does not say what it must"),
        ({"CONFIG": sets("head", "bins", to=10**9)}, "more memory than any model"),
        ({"CONFIG": sets("predict", "batch_size", to=10**6)}, "more memory than any model"),
        ({"CONFIG": sets("data", "clip_starts", to=[0] * 10**5)}, r"config\.json has [0-9,]+ bytes, more than 262,144"),
        ({"TRAINED_ON": sets("frame_size", to=[10**9, 10**9])}, "does not say what it must"),
        ({"TRAINED_ON": sets("scores", to=[float("nan")])}, "does not say what it must"),
        ({"TRAINED_ON": sets("builder", to="\x1b[2J")}, "does not say what it must"),
        ({"PREPROCESSING": sets("mean", to=[0, 0, 0])}, r"prepared videos otherwise \(mean\)"),
        ({"RECALIBRATION": sets("temperature", to=-1)}, "a factor is not a positive number"),
        ({"FAMILIARITY": b"PK\x03\x04 a pickle?"}, "is no safetensors file"),
    ],
)
def test_what_a_bundle_says_is_not_believed(path, tmp_path, changes, message):
    with pytest.raises(BundleError, match=f"is refused as a bundle: .*{message}"):
        bundle.open_bundle(forged(path, tmp_path / "forged.aqa", **changes))


def test_a_member_must_be_what_the_manifest_says(path, tmp_path):
    reader = Reader(path)
    content = {name: reader.read(name) for name in reader.manifest["members"]}
    content[members.CONFIG] = content[members.CONFIG].replace(b'"seed": 0', b'"seed": 1')
    container.write(tmp_path / "it.aqa", content | {members.MANIFEST: json.dumps(reader.manifest).encode()})
    with pytest.raises(BundleError, match=r"config\.json is not what its manifest says"):
        bundle.read_config(tmp_path / "it.aqa")


def test_arrays_must_be_the_models(path, tmp_path):
    arrays = members.bytes_to_arrays(Reader(path).read(members.WEIGHTS))
    name = next(name for name in arrays if name.endswith("kernel"))
    for changed, message in (
        (arrays | {name: arrays[name] * np.nan}, "hold NaN"),
        ({("x" if k == name else k): v for k, v in arrays.items()}, "2 of its arrays are not those"),
        (arrays | {name: arrays[name].T}, "has another shape or type"),
        (arrays | {name: arrays[name].view(np.int32)}, "has another shape or type"),
    ):
        with pytest.raises(BundleError, match=message):
            bundle.open_bundle(forged(path, tmp_path / "it.aqa", WEIGHTS=members.arrays_to_bytes(changed)))
    with pytest.raises(DataError, match="do not fit together"):
        near = members.bytes_to_familiarity(Reader(path).read(members.FAMILIARITY))
        members.bytes_to_familiarity(members.familiarity_to_bytes(dataclasses.replace(near, neighbours=31)))


def test_a_head_of_somebodys_own_is_imported_only_if_allowed(path, tmp_path):
    own = forged(path, tmp_path / "own.aqa", CONFIG=sets("head", "name", to="tests.models.own_head:nothing_such"))
    # The permission is the reader's to give, not the bundle's.
    bold = forged(own, tmp_path / "bold.aqa", CONFIG=sets("predict", "allow_own_head", to=True))
    for refused in (own, bold):
        with pytest.raises(ConfigError, match=r"allow_own_head=True"):
            bundle.open_bundle(refused)
        with pytest.raises(ConfigError, match=r"allow_own_head=True"):
            bundle.open_bundle(refused, config_lib.resolve(bundle.read_config(refused)))
    config = config_lib.resolve(bundle.read_config(own))
    allowed = dataclasses.replace(config, predict=dataclasses.replace(config.predict, allow_own_head=True))
    with pytest.raises(ConfigError, match="nothing_such"):  # Now it looks for it.
        bundle.open_bundle(own, allowed)
