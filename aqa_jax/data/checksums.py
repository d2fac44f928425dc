"""Checksums that were recorded beside files, as GNU coreutils' ``sha256sum`` writes them, and whether bytes are theirs.

Most video formats and JPEG have no checksum of their own: a changed byte may be another valid picture. Whoever has
recorded what a file was, ``cd videos && sha256sum * > SHA256SUMS``, is told when it is that no longer. Source of the
form: GNU coreutils' manual, "md5sum invocation".
"""

import functools
import hashlib
import os
import posixpath
import re
import stat
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from aqa_jax.errors import ChecksumError, DataError

NAME = "SHA256SUMS"
VERIFIED, NONE = "verified", "none"
MEANING = {
    VERIFIED: f"verified: the file is what its {NAME} records",
    NONE: f"none: no {NAME} was found that lists the file; a change that its format cannot show would go unnoticed",
}
MAX_BYTES = 128 * 2**20  # a million frames
_LINE = re.compile(rb"(\\?)([0-9a-fA-F]{64}) [ *](.+)", re.DOTALL)
_ESCAPES = {b"\\\\": b"\\", b"\\n": b"\n", b"\\r": b"\r"}
_AGAIN = "record it anew with sha256sum, or remove it to go on without"
PathLike = str | os.PathLike[str]


class Expected(NamedTuple):
    """What a file should be.

    Attributes:
      sha256: of its bytes, hexadecimal in lower case.
      recorded_in: the path of the file that says so.
    """

    sha256: str
    recorded_in: str


@dataclass(frozen=True)
class Recorded:
    """What a SHA256SUMS file records.

    Attributes:
      path: its own.
      lines: name, relative to its folder and with slashes -> sha256 in lower case and the number of the line (from 1).
    """

    path: Path
    lines: dict[str, tuple[str, int]] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.lines

    @functools.cached_property
    def by_folder(self) -> dict[str, list[str]]:
        """Folder ("" for its own) -> names of the files right in it."""
        found: dict[str, list[str]] = {}
        for name in self.lines:
            folder, _, last = name.rpartition("/")
            found.setdefault(folder, []).append(last)
        return found

    def expected(self, name: str) -> Expected:
        """What the file of this name should be; KeyError where nothing is recorded."""
        return Expected(self.lines[name][0], str(self.path))


def read(path: PathLike) -> Recorded:
    """Reads a file of checksums.

    Names may be written with ``./``; comments (``#``) and empty lines are passed over, as by ``sha256sum --check``, and
    so is the file's own name, whose checksum cannot be in it.

    Raises:
      DataError: it cannot be read, is larger than `MAX_BYTES`, or a line, which is told by its number, is no checksum,
        leads out of the folder, or contradicts another one.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{path} is not a file: {_AGAIN}")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): {_AGAIN}") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path} is larger than {MAX_BYTES} bytes: {_AGAIN}, perhaps one for each folder")
    return parse(data, Path(path))


def parse(data: bytes, path: Path) -> Recorded:
    """What the content ``data`` of the file ``path`` records: see `read`."""
    found = Recorded(path)
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    # An editor of another system; sha256sum itself escapes what ends with a carriage return.
    if all(line.endswith(b"\r") for line in lines):
        lines = [line[:-1] for line in lines]
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith(b"#"):
            continue
        match = _LINE.fullmatch(line)
        name = _name(match[3], bool(match[1])) if match else None
        if match is None or name is None:
            raise DataError(
                f"{path}, line {number}: not as sha256sum writes it, 64 hexadecimal digits, two spaces and a file's "
                f"name: {_AGAIN}"
            )
        if name.startswith("/") or name.split("/", 1)[0] == "..":
            raise DataError(
                f"{path}, line {number}: {_shown(name)} is not in this folder; names are relative to it: {_AGAIN}"
            )
        if name == NAME:
            continue
        sha256 = match[2].decode().lower()
        before, line_before = found.lines.setdefault(name, (sha256, number))
        if before != sha256:
            raise DataError(
                f"{path}, lines {line_before} and {number}: two different checksums of {_shown(name)}: {_AGAIN}"
            )
    return found


def _name(raw: bytes, escaped: bool) -> str | None:
    """The name that a line means; None: it can be none."""
    if escaped:
        if re.fullmatch(rb"(?:[^\\]|\\[\\nr])*", raw, re.DOTALL) is None:
            return None
        raw = re.sub(rb"\\.", lambda match: _ESCAPES[match[0]], raw, flags=re.DOTALL)
    if b"\0" in raw:
        return None
    name = posixpath.normpath(os.fsdecode(raw))
    return None if name == "." else name


def _shown(name: str) -> str:
    """A name for a message: a stranger's bytes."""
    return repr(name[:200].encode("utf-8", "replace").decode())


class Checksums:
    """What is recorded of files in their folders and above; each SHA256SUMS is read once. Any thread may ask."""

    def __init__(self, root: PathLike | None = None):
        """``root``: the highest folder that is looked in; None: a file's own."""
        self.root = None if root is None else Path(root)
        self._known: dict[Path, Recorded | str | None] = {}
        self._above: dict[tuple[Path, Path | None], list[tuple[Recorded, str]]] = {}
        self._lock = threading.Lock()

    def of(self, path: PathLike, root: PathLike | None = None) -> Expected | None:
        """What the nearest SHA256SUMS that lists the file records of it; None: none does.

        Args:
          path: of the file, which need not exist.
          root: instead of the one for all files. A file that is not below it is looked up in its own folder.

        Raises:
          DataError: a SHA256SUMS there cannot be read (`read`).
        """
        path = Path(path)
        return self._of(path.parent, path.name, self.root if root is None else Path(root))

    def of_source(self, path: PathLike, names: Iterable[str] = ()) -> tuple[Expected | None, ...]:
        """`of` for a file, or for the images ``names`` of a folder, in order.

        Raises:
          ChecksumError: images of this folder are recorded and not there: others would take their places.
          DataError: as `of`.
        """
        names = tuple(names)
        if not names:
            return (self.of(path),)
        folder = Path(path)
        if gone := self.missing_images(folder):
            raise ChecksumError(missing(gone[0], self.of(gone[0]), len(gone) - 1))
        return tuple(self._of(folder, name, self.root) for name in names)

    def missing_images(self, folder: Path) -> list[Path]:
        """The images right in a folder that are recorded and not there."""
        wanted = {
            name
            for recorded, start in self._lookups(folder, self.root)
            for name in recorded.by_folder.get(start.rstrip("/"), ())
            if is_image(name)
        }
        return sorted(folder / name for name in wanted.difference(os.listdir(folder))) if wanted else []

    def recorded(self, folder: Path) -> Recorded | None:
        """What the SHA256SUMS right in a folder records; None: there is none. Raises as `read`."""
        with self._lock:
            if folder not in self._known:
                path = folder / NAME
                try:
                    self._known[folder] = read(path) if os.path.lexists(path) else None
                except DataError as error:
                    self._known[folder] = str(error)
            known = self._known[folder]
        if isinstance(known, str):
            raise DataError(known)
        return known

    def _of(self, folder: Path, name: str, root: Path | None) -> Expected | None:
        for recorded, start in self._lookups(folder, root):
            if f"{start}{name}" in recorded:
                return recorded.expected(f"{start}{name}")
        return None

    def _lookups(self, folder: Path, root: Path | None) -> list[tuple[Recorded, str]]:
        """What may list the files of a folder, the nearest first, with what their names start with there."""
        if (folder, root) not in self._above:
            folders = [folder]
            if root is not None and folder.is_relative_to(root):
                folders += [above for above in folder.parents if above.is_relative_to(root)]
            self._above[folder, root] = [
                (recorded, "" if above == folder else f"{folder.relative_to(above).as_posix()}/")
                for above in folders
                if (recorded := self.recorded(above)) is not None
            ]
        return self._above[folder, root]


def is_image(name: str) -> bool:
    """Whether a name is that of a frame."""
    return name.lower().endswith((".jpg", ".jpeg", ".png"))


def digest(path: PathLike) -> str:
    """sha256 of a file, hexadecimal; in pieces, so that memory stays small.

    Raises:
      DataError: it is no file, or cannot be read.
    """
    try:
        # What is no file, as a pipe, could keep whoever opens it waiting.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{path}: not a file")
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def compare(path: PathLike, sha256: str, expected: Expected | None) -> str:
    """`VERIFIED`, or `NONE` where nothing is recorded.

    Args:
      path: named in the error.
      sha256: of the bytes that were read.
      expected: what they should be.

    Raises:
      ChecksumError: they are others.
    """
    if expected is None:
        return NONE
    if sha256 != expected.sha256:
        raise ChecksumError(
            f"{path}: differs from the checksum recorded for it in {expected.recorded_in}: it was changed or damaged "
            "since; get it again, or record it anew with sha256sum"
        )
    return VERIFIED


def verify(path: PathLike, expected: Expected | None, id_: object) -> None:
    """Reads the file of the video ``id_`` and compares it, where something is recorded of it.

    Raises:
      ChecksumError: it is another than was recorded.
      DataError: it cannot be read.
    """
    if expected is not None:
        try:
            compare(path, digest(path), expected)
        except ChecksumError as error:
            raise ChecksumError(f"video {id_!r}: {error}") from None


def missing(path: PathLike, expected: Expected | None, more: int = 0) -> str:
    """In words: a file is recorded and not there, and so many more."""
    others = f" (and {more} more)" if more else ""
    where = f" in {expected.recorded_in}" if expected else ""
    return f"{path}{others}: recorded{where}, but missing; get it again, or record what is there anew with sha256sum"


def in_words(values: Collection[str]) -> str:
    """What the results of `compare` of several scored files mean, in a sentence."""
    verified = sum(value == VERIFIED for value in values)
    if not verified:
        return (
            f"nothing is recorded of the scored files (no {NAME} in the folders given lists them): a change that their "
            "format cannot show would go unnoticed"
        )
    if verified == len(values):
        return f"every scored file is what its {NAME} records"
    return f"{verified} of {len(values)} scored files are what their {NAME} records; of the others nothing is recorded"
