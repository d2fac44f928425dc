"""The file of a bundle: a changed byte, a stranger's member, a name, a size: each is refused before it is read."""

import hashlib
import io
import zipfile

import numpy as np
import pytest

from aqa_jax.bundle import container
from aqa_jax.bundle.container import Container
from aqa_jax.errors import BundleError

MEMBERS = {"a.json": b'{"a": 1}', "b.bin": bytes(range(256)) * 3, "empty": b""}
LIMITS = {"a.json": 100, "b.bin": 1000, "c.bin": 50, "empty": 10}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "it.aqa"


def forged(path, entries, *, before=b"", between=b"", comment=None, **arguments):
    """A zip as an attacker writes it: any entries, and the right digest at its end."""
    buffer = io.BytesIO(before)
    buffer.seek(len(before))
    with zipfile.ZipFile(buffer, "a" if before else "w", **arguments) as archive:
        for name, content in entries:
            archive.writestr(name if isinstance(name, zipfile.ZipInfo) else container._entry(name), content)
        archive.comment = b"0" * 64 if comment is None else comment
    raw = buffer.getvalue()
    raw = raw.replace(b"PK\x05\x06", between + b"PK\x05\x06") if between else raw
    path.write_bytes(raw[:-64] + hashlib.sha256(raw[:-64]).hexdigest().encode())


def test_what_is_written_is_read_and_the_same_members_are_the_same_file(path, tmp_path):
    digest = container.write(path, MEMBERS)
    found = Container(path, LIMITS)
    assert found.digest == digest
    assert {name: found.read(name) for name in found.sizes} == MEMBERS
    with pytest.raises(BundleError, match=r"it has no c\.bin"):
        found.read("c.bin")
    container.write(tmp_path / "again.aqa", MEMBERS)
    assert (tmp_path / "again.aqa").read_bytes() == path.read_bytes()
    # For anybody: a plain zip.
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.read("a.json") == MEMBERS["a.json"]


def test_any_changed_byte_is_refused(path):
    container.write(path, MEMBERS)
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(BundleError, match="is refused as a bundle"):
            Container(path, LIMITS)
    for other in (whole[:-1], whole + b"\n", whole[: len(whole) // 2], b"", b"\n" + whole):
        path.write_bytes(other)
        with pytest.raises(BundleError, match="is refused as a bundle"):
            Container(path, LIMITS)


def entry(name, **fields):
    found = container._entry(name)
    for key, value in fields.items():
        setattr(found, key, value)
    return found


@pytest.mark.parametrize(
    ("entries", "arguments", "message"),
    [
        ([("../../etc/cron.d/x", b"")], {}, "no place for"),
        ([("/a.json", b"")], {}, "no place for"),
        ([("a.json", b"1"), ("a.json", b"2")], {}, r"a\.json twice"),
        ([("a.json", b"x" * 101)], {}, "has 101 bytes, more than 100"),
        ([(entry("b.bin", compress_type=zipfile.ZIP_DEFLATED), b"x" * 900)], {}, "does not lie where its size says"),
        ([(entry("a.json", extra=b"\x01\x00\x02\x00hi"), b"1")], {}, "the header of"),
        ([(entry("a.json", date_time=(2020, 1, 1, 0, 0, 0)), b"1")], {}, "the header of"),
        ([(entry("a.json", comment=b"psst"), b"1")], {}, "between or behind"),
        ([("a.json", b"1")], {"before": b"#!/bin/sh\n"}, "does not lie where its size says"),
        ([("a.json", b"1")], {"between": b"more"}, "it is no zip"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_with_the_right_digest_too_only_a_bundles_form_is_read(path, entries, arguments, message):
    forged(path, [("empty", b"")])
    assert Container(path, LIMITS).sizes == {"empty": 0}  # The forger's hand is good.
    forged(path, entries, **arguments)
    with pytest.raises(BundleError, match=f"is refused as a bundle: .*{message}"):
        Container(path, LIMITS)


def test_no_file_and_no_zip_are_answered_in_words(path, tmp_path):
    with pytest.raises(BundleError, match="cannot be read"):
        Container(tmp_path / "nowhere.aqa", LIMITS)
    content = np.random.default_rng(0).bytes(500)
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
    with pytest.raises(BundleError, match="it is no zip"):
        Container(path, LIMITS)
    with pytest.raises(BundleError, match="cannot be written"):
        container.write("/proc/it.aqa", MEMBERS)
