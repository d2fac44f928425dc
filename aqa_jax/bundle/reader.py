"""A bundle's members, each checked before it is used."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from aqa_jax import __version__
from aqa_jax import config as config_lib
from aqa_jax.bundle import members
from aqa_jax.bundle.container import Container
from aqa_jax.config import Config
from aqa_jax.errors import BundleError, ConfigError

# What a bundle says of how it is scored: it changes the last bit.
_HOW_TO_SCORE = ("dtype", "clips", "batch_size")


def is_bundle(path: Path) -> bool:
    """Whether ``path``, given where a run's folder may stand, is meant to be a bundle: it is a file."""
    return path.is_file()


class Reader:
    """A bundle's members, each checked against the manifest before it is used."""

    def __init__(self, path: Path):
        """Checks the file's every byte, and the manifest.

        Raises:
          BundleError: the file is no bundle, damaged, or of another version.
        """
        self.path = path
        self._container = Container(path, members.LIMITS)
        self.digest = self._container.digest
        self.manifest = self._json(members.MANIFEST, self._container.read(members.MANIFEST), members.MANIFEST_SCHEMA)
        listed = self.manifest.get("members")
        there = {name: size for name, size in self._container.sizes.items() if name != members.MANIFEST}
        if not isinstance(listed, dict) or {name: _size(told) for name, told in listed.items()} != there:
            raise self.refused("its manifest lists other members than there are")
        if missing := [name for name in members.REQUIRED if name not in self._container.sizes]:
            raise self.refused(f"it lacks {', '.join(missing)}")

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._container.sizes

    def size(self, name: str) -> int:
        """A member's bytes."""
        return self._container.sizes[name]

    def read(self, name: str) -> bytes:
        """A member's bytes, after comparing them with their digest in the manifest.

        Raises:
          BundleError: they differ, or there is no such member.
        """
        content = self._container.read(name)
        if members.sha256(content) != self.manifest["members"][name].get("sha256"):
            raise self.refused(f"{name} is not what its manifest says")
        return content

    def json(self, name: str, schema: str | None = None) -> dict[str, Any]:
        """A member that is JSON, of this schema if it has one.

        Raises:
          BundleError: it is something else.
        """
        return self._json(name, self.read(name), schema)

    def config(self) -> Config:
        """The config of the run.

        Raises:
          BundleError: this version does not understand it.
        """
        values = self.json(members.CONFIG)
        data = values.get("data")
        # An exclusion may name a file of this machine, which a stranger's bundle has no business to read.
        if not isinstance(data, dict) or data.get("exclude"):
            raise self.refused("its config excludes videos, which a bundle never says")
        # Neither permissions nor this machine's threads and memory are a stranger's to decide.
        own = Config()
        values["data"] = data | {"threads": own.data.threads, "cache_mb": own.data.cache_mb}
        asked = values.get("predict")
        kept = {key: value for key, value in asked.items() if key in _HOW_TO_SCORE} if isinstance(asked, dict) else {}
        values["predict"] = dataclasses.asdict(own.predict) | kept
        try:
            return config_lib.resolve(values)
        except (ConfigError, TypeError, ValueError) as error:
            raise self.refused(
                f"its config is not understood ({error}); aqa_jax {self.made_with} made it, this is {__version__}"
            ) from None

    @property
    def made_with(self) -> str:
        """The version that wrote the bundle."""
        versions = self.manifest.get("versions")
        return str(versions.get("aqa_jax", "?"))[:20] if isinstance(versions, dict) else "?"

    def refused(self, why: str) -> BundleError:
        """The error to raise."""
        return BundleError(f"{self.path} is refused as a bundle: {why}.")

    def _json(self, name: str, content: bytes, schema: str | None) -> dict[str, Any]:
        try:
            value = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError):
            raise self.refused(f"{name} is not JSON") from None
        if not isinstance(value, dict):
            raise self.refused(f"{name} is no JSON object")
        if schema is not None and value.get("schema") != schema:
            found = str(value.get("schema"))[:60]
            raise self.refused(f"{name} has the schema {found!r}, aqa_jax {__version__} reads {schema!r}")
        return value


def read_config(path: Path) -> ConfigDict:
    """The config in a bundle, ready to be overridden: as :func:`aqa_jax.config.read_json` for a workdir.

    Raises:
      BundleError: see :class:`Reader`.
    """
    return ConfigDict(dataclasses.asdict(Reader(path).config())).lock()


def describe(path: Path) -> str:
    """The model card, the file's digest and its members, for people.

    Raises:
      BundleError: see :class:`Reader`.
    """
    reader = Reader(path)
    rows = [f"{told['bytes']:>14,}  {name}" for name, told in reader.manifest["members"].items()]
    card = reader.read(members.CARD).decode("utf-8", "replace")
    # A stranger's text must not steer the terminal.
    card = "".join(char for char in card if char.isprintable() or char == "\n")
    return "\n".join([f"{path}: a bundle, every byte as it was written", f"digest {reader.digest}", *rows, "", card])


def _size(told: Any) -> Any:
    return told.get("bytes") if isinstance(told, dict) else None
