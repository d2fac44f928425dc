"""scores.json and scores.csv, and the rows that are kept while they come."""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aqa_jax.errors import ConfigError, StorageError
from aqa_jax.evaluate.results import versions
from aqa_jax.files import replacing, write_csv, write_json
from aqa_jax.predict.inputs import Inputs
from aqa_jax.predict.rows import INTERVALS

SCORES_SCHEMA = "aqa_jax.scores/3"
_PARTIAL_SCHEMA = "aqa_jax.scores_partial/1"
PARTIAL = "scores.partial.jsonl"
_OLD = "scores.interrupted.jsonl"
_COLUMNS = (
    "file", "score", "mean", "sigma", *(f"{end}{level}" for level in INTERVALS for end in ("low", "high")),
    "difficulty", "out_of_training_range", "distance", "unfamiliar", "frames", "tempo", "resampled", "fps", "seconds",
    "width", "height", "codec", "damage", "sha256", "checksum",
)  # fmt: skip
_ROOM = 16 * 2**20


def check_output(folder: Path, room: int = _ROOM) -> None:
    """Makes the folder, and tries to write there.

    Args:
      folder: for results.
      room: free bytes that are needed at least.

    Raises:
      StorageError: results cannot be written there, or the disk is full.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(4096))
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error.strerror}): give another --output.") from error
    if free < room:
        raise StorageError(
            f"{folder} has {free / 2**20:.0f} MB free, the results may take {room / 2**20:.0f}: make room, or give "
            "another --output."
        )


@dataclass
class Kept:
    """A row of an earlier call that was cut off.

    Attributes:
      row: as in scores.json.
      check: its differences from the plain model (score, sigma).
      shows: the settings of its extras.
    """

    row: dict[str, Any]
    check: list[float] | None = None
    shows: dict[str, Any] = field(default_factory=dict)


class Partial:
    """Rows as they come, a line each in ``scores.partial.jsonl``: what a kill leaves behind. A context manager."""

    def __init__(self, folder: Path, key: Mapping[str, Any], *, resume: bool):
        """Opens the file; with ``resume`` reads what is there first, else puts it aside.

        Args:
          folder: of the results.
          key: what must be equal for another call to go on: model and settings.
          resume: go on with what is there.

        Raises:
          ConfigError: what is there was made by another model or with other settings.
        """
        self.folder = folder
        self._kept: dict[str, Kept] = {}
        self._rows = 0
        path = folder / PARTIAL
        if path.exists() and resume:
            self._read(path, key)
        elif path.exists():
            os.replace(path, folder / _OLD)
            print(
                f"{folder} has results of a call that was cut off; they are now in {_OLD}. "
                "(--config.predict.resume=True would have gone on with them.)"
            )
        # What was read is written again, for the last line may have been cut; beside it first, in case of a kill.
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as self._file:
            self._line({"schema": _PARTIAL_SCHEMA, "key": key})
            for one in self._kept.values():
                self.add(one.row, one.check, one.shows)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  (closed in __exit__)

    def __enter__(self) -> "Partial":
        return self

    def __exit__(self, *error: Any) -> None:
        with suppress(OSError):  # A full disk has been told of already.
            self._file.close()
        if not self._rows:
            (self.folder / PARTIAL).unlink(missing_ok=True)
        else:
            print(
                f"{self._rows} scored videos are kept in {self.folder / PARTIAL}: the same call with "
                "--config.predict.resume=True goes on with them."
            )

    def find(
        self, file: str, content: Mapping[str, Any], extras: tuple[str, ...], shows: Mapping[str, Any]
    ) -> Kept | None:
        """The row of an earlier call, if any, with this ``content`` and these extras with these settings.

        Args:
          file: as it was given.
          content: columns, ``sha256`` among them, that must be the same.
          extras: their names.
          shows: their settings.
        """
        one = self._kept.get(file)
        # What an earlier version left may lack a column.
        if one is None or any(name not in one.row or one.row[name] != value for name, value in content.items()):
            return None
        made = one.row.get("extras", {})
        if sorted(made) != sorted(extras) or one.row.get("extras_error") or one.shows != shows:
            return None
        there = (self.folder / name for names in made.values() for name in names)
        return one if all(name.is_file() for name in there) else None

    def add(self, row: Mapping[str, Any], check: list[float] | None, shows: Mapping[str, Any]) -> None:
        """Keeps a row, on the disk, with what :class:`Kept` says.

        Raises:
          StorageError: the disk is full.
        """
        self._line({"row": row, "check": check, "shows": shows})
        self._rows += 1

    def finish(self) -> None:
        """Leaves nothing behind: the results are written."""
        self._rows = 0

    def _line(self, content: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(content, ensure_ascii=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(
                f"{self.folder / PARTIAL} cannot be written ({error.strerror}): make room and go on."
            ) from error

    def _read(self, path: Path, key: Mapping[str, Any]) -> None:
        head: dict[str, Any] = {}
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n")):
            try:
                content = json.loads(line)
                if number:
                    self._kept[content["row"]["file"]] = Kept(
                        content["row"], content["check"], content.get("shows", {})
                    )
                else:
                    head = dict(content)
            except (ValueError, KeyError, TypeError):
                continue  # The process was killed within this line.
        ours, theirs = json.loads(json.dumps(key)), head.get("key")
        if head.get("schema") != _PARTIAL_SCHEMA or not isinstance(theirs, dict):
            raise ConfigError(f"{path} is not a file of this version: remove it to score everything again.")
        if changed := _differences(ours, theirs):
            raise ConfigError(
                f"{path} was made otherwise:\n  " + "\n  ".join(changed) + "\nGo on as it was made, or give another "
                "--output; without --config.predict.resume everything is scored again."
            )


def _differences(ours: Any, theirs: Any, name: str = "") -> list[str]:
    """What differs in two JSON values, as ``name: theirs -> ours``."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        names = sorted({*ours, *theirs})
        return [line for key in names for line in _differences(ours.get(key), theirs.get(key), f"{name}.{key}")]
    return [] if ours == theirs else [f"{name[1:]}: {theirs} -> {ours}"]


def write_scores(
    output: Path,
    inputs: Inputs,
    rows: list[dict[str, Any]],
    errors: Mapping[str, str],
    *,
    model: Mapping[str, Any],
    settings: Mapping[str, Any],
    check: Mapping[str, Any] | None,
) -> None:
    """Writes both files, each whole or not at all; ``rows`` are in the inputs' order (docs/predict.md)."""
    content = {
        "schema": SCORES_SCHEMA,
        "model": dict(model),
        **settings,
        "videos": rows,
        "errors": [{"file": name, "error": message} for name, message in errors.items()],
        "ignored": [str(path) for path in inputs.ignored],
        "check": check,
        "versions": versions(),
    }
    write_json(output / "scores.json", content)
    by_file = {row["file"]: row for row in rows}
    files = [str(path) for path in inputs.videos]
    columns = {name: [by_file.get(file, {}).get(name) for file in files] for name in _COLUMNS} | {"file": files}
    columns["error"] = [errors.get(file) or by_file[file].get("extras_error") for file in files]
    write_csv(output / "scores.csv", columns)
