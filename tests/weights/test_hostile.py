"""Files of somebody hostile: a typed error, in little time and memory; nothing executed.

`scripts/reliability/hostile.py` tries a hundred thousand of them, watched by audit events in a process of its own.
"""

import contextlib
import json
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aqa_jax import safe_pickle
from aqa_jax.errors import AqaError, DataError, UnsafePickleError, WeightsError
from aqa_jax.files import read_csv, read_json
from aqa_jax.weights import read_adapter, read_safetensors
from aqa_jax.weights.source import load_source
from aqa_jax.weights.tf_checkpoint import read_checkpoint
from aqa_jax.weights.torch_file import read_torch
from scripts.reliability.forgeries import FORGERIES, mutated
from tests.weights import test_tf_checkpoint as tf
from tests.weights.torch_writer import Name, Reduced, write_legacy, write_zip

READERS = {
    "pickle": safe_pickle.load, "torch zip": read_torch, "torch legacy": read_torch, "tensorflow": read_checkpoint,
    "safetensors": read_safetensors, "adapter": read_adapter, "mat": load_source,
}  # fmt: skip
RAW = np.ones(2, np.float32).tobytes()


@pytest.mark.parametrize("kind", FORGERIES)
def test_forgeries_are_typed_errors_or_plain_arrays(kind, tmp_path, monkeypatch):
    for name in ("system", "popen", "execv"):
        monkeypatch.setattr(os, name, lambda *arguments: pytest.fail("executed"))
    rng = np.random.default_rng(0)
    tracemalloc.start()
    outcomes = set()
    for _ in range(30):
        for name, content in FORGERIES[kind](rng).items():
            (tmp_path / name).write_bytes(content)
        path = tmp_path / ("m.index" if kind == "tensorflow" else name)
        try:
            READERS[kind](path)
            outcomes.add("read")
        except AqaError as error:
            outcomes.add(type(error).__name__)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcomes <= {"read", "WeightsError", "PickleError", "UnsafePickleError"} and outcomes != {"read"}
    assert peak < 2**26


@pytest.mark.parametrize("read", [read_csv, lambda path: read_json(path, "any")])
def test_text_of_32_gib_is_refused_unread(read, tmp_path):
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", 32 * 2**30)
    with pytest.raises(DataError, match="larger than"):
        read(tmp_path / "a")


def test_json_that_is_nested_without_end_is_a_typed_error(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="is not JSON"):
        read_json(tmp_path / "a.json", "any")


@pytest.mark.parametrize("name", ["a.pth", "legacy.pth", "a.safetensors", "m.index", "a.pkl"])
def test_files_of_32_gib_are_refused_unread(name, tmp_path):
    path = tmp_path / name
    if name == "a.pth":
        write_zip(path, {})
    elif name == "legacy.pth":
        write_legacy(path, {})
    elif name == "m.index":
        tf.write(tmp_path, [(b"w", tf.entry(RAW))], RAW)
        path = tmp_path / "m.data-00000-of-00001"
    else:
        path.write_bytes(b"\x08" + bytes(7) + b'{"a": 1}')
    os.truncate(path, 32 * 2**30)
    tracemalloc.start()
    with pytest.raises(WeightsError, match="larger than"):
        (safe_pickle.load if name == "a.pkl" else read_checkpoint if name == "m.index" else load_source)(path)
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


def test_a_member_may_not_claim_gigabytes(tmp_path):
    """Found by scripts/reliability/hostile.py, case 80347."""
    path = tmp_path / "a.pth"
    write_zip(path, {})
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\1\2", 0, data.rfind(b"byteorder"))
    data[at + 20 : at + 24] = struct.pack("<I", 2**31 - 1)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(WeightsError, match="byteorder is compressed, encrypted or oversized"):
        read_torch(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_name_of_megabytes_is_not_copied_to_every_leaf(write, tmp_path):
    write(tmp_path / "a.pth", {"x" * 2**20: list(range(1000))})
    tracemalloc.start()
    with pytest.raises(WeightsError, match="characters"):
        read_torch(tmp_path / "a.pth")
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


def test_a_text_of_megabytes_is_not_copied_by_every_call(tmp_path):
    text = "x" * 2**20
    write_zip(tmp_path / "a.pth", [Reduced(Name("torch", "device"), (text, i)) for i in range(50)])
    with pytest.raises(UnsafePickleError, match="more data than it holds"):
        read_torch(tmp_path / "a.pth")


def test_a_dictionary_whose_keys_share_a_hash_is_refused_at_once():
    items = (b"G" + struct.pack(">d", -1000003.0 * i) + b"G" + struct.pack(">d", i) for i in range(20_000))
    data = b"}(" + b"".join(b"c__builtin__\ncomplex\n(" + item + b"tRN" for item in items) + b"u."
    with pytest.raises(UnsafePickleError, match="complex as a key"):
        safe_pickle.load(data)


def test_variables_may_not_share_bytes(tmp_path):
    items = [(b"w%d" % i, tf.entry(RAW)) for i in range(3)]
    with pytest.raises(WeightsError, match="share"):
        read_checkpoint(tf.write(tmp_path, items, RAW))


def test_variables_without_bytes_may_not_be_endless(tmp_path):
    for shape in ((0, 2**63), (0, 2**40, 2**40)):
        with pytest.raises(WeightsError, match="w of shape"):
            read_checkpoint(tf.write(tmp_path, [(b"w", tf.entry(b"", shape=shape))]))


def test_keys_that_grow_are_refused(tmp_path, monkeypatch):
    def grown(items, kind=0):
        body = b"".join(tf.varint(max(i - 1, 0)) + tf.varint(1) + tf.varint(len(v)) + b"k" + v for i, (_, v) in items)
        body += struct.pack("<II", 0, 1) + b"\0"
        return body + struct.pack("<I", tf.masked(tf.crc32c(body)))

    block = tf.block
    monkeypatch.setattr(
        tf, "block", lambda items, kind=0: block(items) if len(items) < 9 else grown([*enumerate(items)])
    )
    with pytest.raises(WeightsError, match="malformed"):
        read_checkpoint(tf.write(tmp_path, [(b"", tf.entry(RAW))] * 3000, RAW))


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": "[" * 50_000},
        {"training_groups": "[" * 50_000},
        {"training_groups": '"abc"'},
        {"provenance": "[]"},
        {"width": "NaN"},
        {"width": "1e999"},
    ],
)
def test_metadata_of_an_adapter_is_checked(changes, tmp_path):
    metadata = {
        "schema": "aqa_jax.adapter/1", "adapter": '{"kind": "lora", "blocks": "all", "rank": 4}', "width": "1",
        "content": "", "dialect": "pecop", "backbone": "", "provenance": "{}", "training_groups": "[]",
    }  # fmt: skip
    for changed, says in ((metadata, "arrays are not those"), (metadata | changes, "metadata cannot be read")):
        text = json.dumps({"__metadata__": changed}).encode()
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        with pytest.raises(WeightsError, match=says):
            read_adapter(tmp_path / "a.safetensors")


def test_matlabs_files_are_refused_by_name(tmp_path):
    for version in ("5.0", "7.3"):
        (tmp_path / "splits.mat").write_bytes(f"MATLAB {version} MAT-file, Platform: GLNXA64".encode().ljust(600))
        with pytest.raises(WeightsError, match=r"MATLAB file \(\.mat\), which is not read"):
            load_source(tmp_path / "splits.mat")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
@example(data=b"\x80\x04\x95" + b"\xff" * 8 + b".")
@example(data=b"cos\nsystem\n(S'true'\ntR.")
def test_any_bytes_are_plain_data_or_a_typed_error(data, tmp_path):
    for name, reader in (("a.pkl", safe_pickle.load), ("a.safetensors", read_safetensors), ("a.csv", read_csv)):
        (tmp_path / name).write_bytes(data)
        try:
            reader(tmp_path / name)
        except AqaError:
            continue


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), protocol=st.integers(0, 5))
def test_what_python_pickles_and_somebody_changes(seed, protocol, tmp_path):
    rng = np.random.default_rng(seed)
    data = mutated(pickle.dumps({"a": rng.random(2), ("b", 1): [1, {2.5, None}]}, protocol), rng)
    with contextlib.suppress(AqaError):
        safe_pickle.load(data)
