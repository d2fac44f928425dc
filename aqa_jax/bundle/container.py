"""The file that a bundle is: a zip of known members, in one form alone, of which every byte is checked.

A zip, so that anybody can look into it (``python -m zipfile -l FILE``). Members are stored as they are, one behind the
other, without dates, owners or further fields; the archive's comment is the SHA-256 of all bytes before it. So the same
members are the same file, and a file with any other byte is refused before anything in it is used. That finds damage.
Whoever changes a bundle on purpose can write a new digest too: who it comes from only the file's own digest tells,
compared over another channel.

Nothing is ever unpacked to a disk, so no name can lead out of a folder.
"""

import hashlib
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from aqa_jax.errors import BundleError
from aqa_jax.files import replacing

MAX_BYTES = 2**31 - 2**20
"""Of a whole bundle: above, a zip has another form."""

_DIGEST = 64  # hexadecimal digits of a SHA-256
_LOCAL, _CENTRAL, _END = 30, 46, 22  # bytes of a zip's headers, without names and comment
_AT_ONCE = 2**20


def write(path: str | os.PathLike[str], members: Mapping[str, bytes]) -> str:
    """Writes ``members`` in their order, the file whole or not at all; its digest.

    Raises:
      BundleError: they are too large, or the file cannot be written.
    """
    if sum(map(len, members.values())) > MAX_BYTES:
        raise BundleError(f"{path}: a bundle holds {MAX_BYTES:,} bytes at most.")
    try:
        with replacing(path) as temporary:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
                for name, content in members.items():
                    archive.writestr(_entry(name), content)
                archive.comment = b"0" * _DIGEST
            with open(temporary, "rb+") as file:
                digest = _digest(file)
                file.seek(-_DIGEST, os.SEEK_END)
                file.write(digest.encode())
        return digest
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror or error}).") from error


class Container:
    """A bundle's file, opened: every byte of it has been checked against its digest."""

    def __init__(self, path: str | os.PathLike[str], limits: Mapping[str, int]):
        """Opens it.

        Args:
          path: the file.
          limits: the members that there may be, and how many bytes each may have.

        Raises:
          BundleError: the file is no bundle, damaged, or holds anything but such members.
        """
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if not _END + _DIGEST <= size <= MAX_BYTES + _AT_ONCE:
                    raise self._refused(f"it has {size:,} bytes")
                self.digest = self._checked_digest(file, size)
                self._sizes, self._starts = self._members(file, size, limits)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror or error}).") from error

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each member, in their order."""
        return dict(self._sizes)

    def read(self, name: str) -> bytes:
        """A member's bytes.

        Raises:
          BundleError: there is no such member, or the file has been changed since it was opened, or cannot be read.
        """
        if name not in self._sizes:
            raise self._refused(f"it has no {name}")
        try:
            with open(self.path, "rb") as file:
                file.seek(self._starts[name])
                content = file.read(self._sizes[name])
        except OSError as error:
            raise BundleError(f"{self.path}: cannot be read ({error.strerror or error}).") from error
        if len(content) != self._sizes[name]:
            raise self._refused(f"{name} is cut short")
        return content

    def _checked_digest(self, file: BinaryIO, size: int) -> str:
        file.seek(size - _DIGEST)
        stored = file.read()
        if not re.fullmatch(rb"[0-9a-f]{64}", stored):
            raise self._refused("it does not end in a digest: it is another kind of file, cut short, or changed")
        found = _digest(file)
        if found.encode() != stored:
            raise self._refused("its bytes do not have the digest that stands at its end: something was changed")
        return found

    def _members(self, file: BinaryIO, size: int, limits: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
        """Size of each member, and where it starts. The file must be the one that :func:`write` makes of them."""
        try:
            with zipfile.ZipFile(file) as archive:
                entries, directory = archive.infolist(), archive.start_dir
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise self._refused(f"it is no zip ({error})") from None
        sizes: dict[str, int] = {}
        starts: dict[str, int] = {}
        position = 0
        for entry in entries:
            name = entry.filename
            if name not in limits:
                raise self._refused(f"it holds {name[:80]!r}, which a bundle has no place for")
            if name in sizes:
                raise self._refused(f"it holds {name} twice")
            if entry.file_size > limits[name]:
                raise self._refused(f"{name} has {entry.file_size:,} bytes, more than {limits[name]:,}")
            if entry.header_offset != position or entry.compress_size != entry.file_size:
                raise self._refused(f"{name} does not lie where its size says")
            file.seek(position)
            plain = _entry(name)
            plain.CRC, plain.file_size, plain.compress_size = entry.CRC, entry.file_size, entry.file_size
            header = plain.FileHeader(zip64=False)
            if file.read(len(header)) != header or entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits:
                raise self._refused(f"the header of {name} is not a bundle's")
            sizes[name], starts[name] = entry.file_size, position + len(header)
            position = starts[name] + entry.file_size
        end = directory + sum(_CENTRAL + len(name) for name in sizes) + _END + _DIGEST
        if position != directory or end != size:
            raise self._refused("there is something between or behind its members")
        return sizes, starts

    def _refused(self, why: str) -> BundleError:
        return BundleError(f"{self.path} is refused as a bundle: {why}. Copy it again, or export it again.")


def _entry(name: str) -> zipfile.ZipInfo:
    """A member's header: the same in every bundle."""
    entry = zipfile.ZipInfo(name)  # Of the first date that a zip knows.
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry


def _digest(file: BinaryIO) -> str:
    """SHA-256 of all bytes but the last, which are the place for it, in hex."""
    file.seek(0, os.SEEK_END)
    left = file.tell() - _DIGEST
    file.seek(0)
    digest = hashlib.sha256()
    while left:
        part = file.read(min(_AT_ONCE, left))
        if not part:
            break
        digest.update(part)
        left -= len(part)
    return digest.hexdigest()
