"""Files of checksums are read as `sha256sum` writes them, and nothing else is."""

import hashlib
import os
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqa_jax.data import checksums
from aqa_jax.data.checksums import Checksums, compare, digest, parse, read
from aqa_jax.errors import ChecksumError, DataError

SUM, OTHER = "a" * 64, "b" * 64
STRANGE = [
    b"a.mp4", b"back\\slash", b"new\nline", b"cr\r", b" lead", b"*star", b"\xff\xfe.mp4", "ä ö.mp4".encode(), b"-dash",
    b"tab\t", b"#hash", b"trail ", b"a\\nb",
]  # fmt: skip


def written(name: str, mode: str = " ") -> bytes:
    """A line as GNU coreutils 9 writes it."""
    raw = os.fsencode(name)
    escaped = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if escaped != raw else b"") + f"{SUM} {mode}".encode() + escaped + b"\n"


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs GNU coreutils")
@pytest.mark.parametrize(
    "command", [["sha256sum", "--", *STRANGE], ["sha256sum", "--binary", "--", b"./*star", *STRANGE]]
)
def test_what_sha256sum_writes(tmp_path, command):
    for name in STRANGE:
        (tmp_path / os.fsdecode(name)).write_bytes(b"of " + name)
    with open(tmp_path / "SHA256SUMS", "wb") as file:
        subprocess.run(command, cwd=tmp_path, stdout=file, check=True)
    found = read(tmp_path / "SHA256SUMS")
    assert set(found.lines) == {os.fsdecode(name) for name in STRANGE}
    for name in STRANGE:
        path = tmp_path / os.fsdecode(name)
        assert compare(path, digest(path), Checksums().of(path)) == "verified"
        assert found.expected(path.name).sha256 == hashlib.sha256(b"of " + name).hexdigest()


NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in (".", "..", checksums.NAME)
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, st.sampled_from(" *"), min_size=1, max_size=5))
def test_any_name_comes_back(tmp_path_factory, names):
    data = b"".join(written(name, mode) for name, mode in names.items())
    assert set(parse(data, tmp_path_factory.getbasetemp() / "SHA256SUMS").lines) == set(names)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.builds(lambda *parts: b"".join(parts), st.just(written("a")[:67]), st.binary()))
def test_no_bytes_lead_out_of_the_folder(tmp_path_factory, data):
    try:
        lines = parse(data, tmp_path_factory.getbasetemp() / "SHA256SUMS").lines
    except DataError:
        return
    for name in lines:
        assert os.path.normpath(os.path.join("/x", name)).startswith("/x/") and "\0" not in name


def test_what_is_accepted(tmp_path):
    path = tmp_path / "SHA256SUMS"
    path.write_bytes(b"\xef\xbb\xbf" + f"{'A' * 64}  ./a//b.mp4\r\n\r\n# by hand\r\n{SUM} *a/x/../b.mp4\r\n".encode())
    assert read(path).lines == {"a/b.mp4": (SUM, 1)}
    # `sha256sum * > SHA256SUMS` where there is one already.
    path.write_text(f"{SUM}  SHA256SUMS\n{SUM}  sub/SHA256SUMS\n{SUM}  last")
    assert list(read(path).lines) == ["sub/SHA256SUMS", "last"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{SUM}  a\n{SUM[:-1]}  b\n", "line 2: not as sha256sum writes it"),
        (f"{SUM} a\n", "line 1: not as sha256sum"),
        (f"{SUM}  \n", "line 1: not as sha256sum"),
        (f"{SUM}  .\n", "line 1: not as sha256sum"),
        (f"{SUM}  a\0b\n", "line 1: not as sha256sum"),
        (f"\\{SUM}  a\\tb\n", "line 1: not as sha256sum"),
        (f"SHA256 (a) = {SUM}\n", "line 1: not as sha256sum"),
        (f"{SUM}  a\n\n{SUM}  ../b\n", r"line 3: '../b' is not in this folder"),
        (f"{SUM}  a/../../b\n", "line 1: '../b' is not in this folder"),
        (f"{SUM}  /etc/passwd\n", "line 1: '/etc/passwd' is not in this folder"),
        (f"{SUM}  a\n{SUM}  ./a\n{OTHER}  a\n", "lines 1 and 3: two different checksums of 'a'"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    path = tmp_path / "SHA256SUMS"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read(path)
    assert str(error.value).startswith(str(path)) and "sha256sum" in str(error.value)
    with pytest.raises(DataError, match=message):
        Checksums().of(tmp_path / "any.mp4")


def test_what_is_no_file_or_too_large(tmp_path, monkeypatch):
    path = tmp_path / "SHA256SUMS"
    os.mkfifo(path)
    with pytest.raises(DataError, match="not a file"):
        read(path)
    with pytest.raises(DataError, match="not a file"):
        digest(path)
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="cannot be read"):
        Checksums().of(tmp_path / "a.mp4")
    path.unlink()
    assert Checksums().of(tmp_path / "a.mp4") is None
    path.write_text(f"{SUM}  a.mp4\n")
    monkeypatch.setattr(checksums, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="larger than 10 bytes"):
        read(path)


def test_folders_of_images(tmp_path):
    folder = tmp_path / "frames" / "01"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.jpg").write_bytes(bytes([number]))
    names = [f"{number}.jpg" for number in range(4)]
    asked = Checksums(tmp_path)
    assert asked.of_source(folder, names) == (None,) * 4 and asked.missing_images(folder) == []
    lines = [f"{digest(folder / name)}  frames/01/{name}\n" for name in names]
    (tmp_path / "SHA256SUMS").write_text("".join(lines[1:]) + f"{SUM}  frames/02/7.jpg\n")
    expected = Checksums(tmp_path).of_source(folder, names)
    assert expected[0] is None and [one.sha256 for one in expected[1:]] == [digest(folder / name) for name in names[1:]]
    assert Checksums(folder).of_source(folder, names) == (None,) * 4
    (folder / "2.jpg").unlink()
    with pytest.raises(ChecksumError, match=r"01/2\.jpg: recorded in .*SHA256SUMS, but missing"):
        Checksums(tmp_path).of_source(folder, ["0.jpg", "1.jpg", "3.jpg"])
