"""What files a checkpoint consists of, with the sha256 of each: written into it before it gets its name.

A step's directory holds ``manifest.json``::

    {"schema": "aqa_jax.manifest/1", "files": {"state/_METADATA": {"bytes": 1834, "sha256": "…"}, …}}

Orbax protects a checkpoint from being half written, not from a bit that falls over later: of 200 single bits, 19 gave
other weights without a word.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aqa_jax.errors import StorageError
from aqa_jax.files import write_json

NAME = "manifest.json"
SCHEMA = "aqa_jax.manifest/1"
UNLISTED = ("_CHECKPOINT_METADATA", "commit_success.txt")
"""Orbax writes these two (times and a note) when the manifest is already there; nothing that is restored is in them."""


def write(directory: Path, names: Sequence[str] | None = None) -> None:
    """Lists the files under ``directory`` (or ``names`` alone) in ``manifest.json``, after each has reached the disk.

    Raises:
      OSError: a file cannot be read, or the manifest not be written.
    """
    files = {
        name: {"bytes": path.stat().st_size, "sha256": digest(path, flush=True)}
        for name, path in _walk(directory)
        if names is None or name in names
    }
    write_json(directory / NAME, {"schema": SCHEMA, "files": files})


def has(directory: Path) -> bool:
    """Whether there is a manifest, in whatever state."""
    return (directory / NAME).exists()


def faults(directory: Path, parts: Sequence[str] = (), *, listed_alone: bool = False) -> list[str]:
    """What is wrong with the files under ``directory``, or under its folders ``parts`` alone; empty if they are whole.

    A file that is missing, has another size or other content is a fault, and, unless ``listed_alone``, one that the
    manifest does not know.

    Raises:
      StorageError: the disk does not answer, which says nothing of the files.
    """
    try:
        listed = _read(directory / NAME)
    except FileNotFoundError:
        return [f"{NAME} is missing"]
    except OSError as error:
        raise _unreadable(directory / NAME, error) from error
    except (ValueError, TypeError, KeyError) as error:
        return [f"{NAME} is damaged ({error})"]

    def asked_for(name: str) -> bool:
        return not parts or name.partition("/")[0] in parts

    found = {name: path for name, path in _walk(directory) if asked_for(name)}
    wanted = {name: entry for name, entry in listed.items() if asked_for(name)}
    problems = [f"{part} is missing" for part in parts if not any(name.startswith(f"{part}/") for name in wanted)]
    problems += [f"{name} is missing" for name in wanted.keys() - found.keys()]
    if not listed_alone:
        problems += [f"{name} is not of this checkpoint" for name in found.keys() - wanted.keys()]
    for name in sorted(wanted.keys() & found.keys()):
        size, expected = wanted[name]
        try:
            if (now := found[name].stat().st_size) != size:
                problems.append(f"{name} has {now} bytes instead of {size}")
            elif digest(found[name]) != expected:
                problems.append(f"{name} has other content than was written")
        except FileNotFoundError:
            problems.append(f"{name} is missing")
        except OSError as error:
            raise _unreadable(found[name], error) from error
    return problems


def digest(path: Path, *, flush: bool = False) -> str:
    """sha256 of a file, in hexadecimal; with ``flush`` the file is on the disk then, not in a buffer alone."""
    with open(path, "rb") as file:
        if flush:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path} cannot be read: {error.strerror}. Mend the disk; nothing was changed.")


def _read(path: Path) -> dict[str, tuple[int, str]]:
    content: Any = json.loads(path.read_text(encoding="utf-8"))
    if content["schema"] != SCHEMA:
        raise ValueError(f"schema {content['schema']!r}, this version reads {SCHEMA!r}")
    return {name: (entry["bytes"], entry["sha256"]) for name, entry in content["files"].items()}


def _walk(directory: Path) -> Iterator[tuple[str, Path]]:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder) / name
            relative = path.relative_to(directory).as_posix()
            if relative != NAME and relative not in UNLISTED:
                yield relative, path
