"""Scorers kept on disk, ready: for the same model on the same machine, a later process scores with jax alone.

It neither makes the model, nor reads its checkpoint, nor traces a program (what that saves: docs/speed.md). The file
holds the programs, the weights as they are used, and what is known of their trust; the scores are the same to the
bit. Whatever could change them is in its name: the config, each file of the run or the bundle, of this library and the
versions of the others, the devices. So a scorer is never stale: it is found or it is not.
"""

import hashlib
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

import aqa_jax
from aqa_jax import compilation
from aqa_jax.bundle import is_bundle, members
from aqa_jax.bundle.container import Container, write
from aqa_jax.config import Config
from aqa_jax.config_keys import HEAD_NAMES
from aqa_jax.errors import AqaError, DataError
from aqa_jax.evaluate.recalibration import Recalibration
from aqa_jax.evaluate.results import versions
from aqa_jax.predict.program_scorer import ProgramScorer
from aqa_jax.predict.runner import Runner, runnable
from aqa_jax.predict.trust import Trust

SCHEMA = "aqa_jax.kept_scorer/1"
FOLDER = "scorers"
"""In the folder of compiled programs."""
MOST = 4
"""So many are kept, those that were used last; 50 MB each at the papers' width."""

_ABOUT, _BACKBONE, _HEAD = "about.json", "backbone.stablehlo", "head.stablehlo"
_LIMITS = {name: 2**30 for name in (_ABOUT, _BACKBONE, _HEAD, members.WEIGHTS)} | {
    name: members.LIMITS[name] for name in (members.RECALIBRATION, members.FAMILIARITY)
}
# Of config.predict: what changes a program.
_PROGRAM_KEYS = ("dtype", "clips", "batch_size")
# Of jax: likewise.
_JAX_KEYS = ("jax_default_matmul_precision", "jax_enable_x64")


class KeptRunner(Runner):
    """Programs and weights from a file."""

    def __init__(self, container: Container, *, clips: int):
        """Reads them.

        Raises:
          DataError: the weights are damaged.
        """
        self._backbone, self._head = (runnable(_exported(container, name)) for name in (_BACKBONE, _HEAD))
        arrays = members.bytes_to_arrays(container.read(members.WEIGHTS))
        both: tuple[list[Any], list[Any]] = [], []
        for name in sorted(arrays):
            both[name.startswith(_HEAD)].append(arrays[name])
        super().__init__(*both, clips=clips)

    def make_backbone(self, clips: jax.ShapeDtypeStruct) -> Any:
        """See :meth:`Runner.make_backbone`."""
        return self._backbone

    @property
    def head(self) -> Any:
        """See :attr:`Runner.head`."""
        return self._head


class KeptScorer(ProgramScorer):
    """Scores as the :class:`aqa_jax.predict.scorer.RunScorer` that it was kept of, for as many videos at once."""

    def __init__(self, config: Config, path: Path):
        """Reads the file.

        Raises:
          BundleError or DataError: it is damaged.
        """
        container = Container(path, _LIMITS)
        about = json.loads(container.read(_ABOUT))
        recalibration = familiarity = None
        if members.RECALIBRATION in container.sizes:
            recalibration = Recalibration.from_dict(json.loads(container.read(members.RECALIBRATION)))
        if members.FAMILIARITY in container.sizes:
            familiarity = members.bytes_to_familiarity(container.read(members.FAMILIARITY))
        known = about["known_difficulties"]
        super().__init__(
            config, KeptRunner(container, clips=about["clips"]), Trust(recalibration, about["why_raw"], familiarity),
            about["trained_on"], about["columns"], None if known is None else tuple(known),
        )  # fmt: skip
        self._description = about["model"]

    def describe(self) -> dict[str, Any]:
        """What identifies the model in a result file."""
        return dict(self._description)

    @property
    def plain(self) -> Runner:
        """Not kept: a check makes the model."""
        raise NotImplementedError("a kept scorer has no plain model")


def find(config: Config, path: Path) -> KeptScorer | None:
    """The scorer that is kept at ``path`` (:func:`path_of` of ``config``); None where there is none."""
    if not path.is_file():
        return None
    try:
        scorer = KeptScorer(config, path)
    except (AqaError, OSError):
        # Damaged; or another process has removed it meanwhile, as one that was not used for long.
        print(f"{path} cannot be used: what it held is made anew.", file=sys.stderr)
        with suppress(OSError):
            path.unlink()
        return None
    with suppress(OSError):  # The folder may be for reading alone.
        os.utime(path)
    return scorer


def keep(scorer: Any, path: Path, batch_size: int) -> bool:
    """Keeps ``scorer`` at ``path``, for calls with the same batch size.

    The path has to be older than the scorer: so it is of the files that were read, or of such as are no more.

    Returns:
      Whether it is kept; not so a cross-validation, somebody's own head, or where there is no room. Only the last is
      told, on standard error: whoever has scored has his scores.
    """
    from aqa_jax.predict.scorer import RunScorer

    # Code that is not this library's may change without notice.
    if not isinstance(scorer, RunScorer) or scorer.config.head.name not in HEAD_NAMES:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(path, _members(scorer, batch_size))
    except (AqaError, OSError) as error:
        print(f"What scores is not kept for the next call: {error}", file=sys.stderr)
        return False
    _remove_old(path.parent)
    return True


def path_of(config: Config, workdir: Path) -> Path | None:
    """Where the scorer of a run, or of a bundle, is kept; None: the cache or ``config.predict.keep`` is off.

    All that could change a score is in the name.
    """
    folder = compilation.cache_folder()
    if folder is None or not config.predict.keep:
        return None
    try:
        model = [str(workdir.absolute()), *_model_files(workdir)]
        library = _files(Path(aqa_jax.__file__).parent, "**/*.py")
    except OSError:  # A training that goes on removed a checkpoint just now: nothing is known of its files.
        return None
    kept = asdict(config) | {"predict": {key: getattr(config.predict, key) for key in _PROGRAM_KEYS}}
    devices = jax.local_devices()
    identity = {
        "schema": SCHEMA,
        "config": {group: kept[group] for group in kept if group not in ("crossval", "report", "serve", "export")},
        "model": model,
        "library": library,
        "versions": versions(),
        "devices": [devices[0].platform, devices[0].device_kind, len(devices)],
        "jax": [str(getattr(jax.config, name)) for name in _JAX_KEYS],
    }
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return folder / FOLDER / f"{name}.scorer"


def _members(scorer: Any, batch_size: int) -> dict[str, bytes]:
    program, trust = scorer.program, scorer.trust
    video, batch = scorer.example(batch_size)
    backbone, arguments = program.exported_backbone(program.clips_of(video[2:])), program.head_arguments(video, batch)
    with compilation.without_paths():
        head = export.export(program.head)(*arguments)
    # Compiled now, or the next call would.
    runnable(head).lower(*arguments).compile()
    about = {
        "schema": SCHEMA,
        "model": scorer.describe(),
        "trained_on": {key: scorer.trained_on[key] for key in ("frame_size", "score_range")},
        "columns": scorer.columns,
        "known_difficulties": scorer.known_difficulties,
        "clips": program.clips,
        "why_raw": trust.why_raw,
    }
    arrays = {f"{_BACKBONE}/{i:05}": np.asarray(array) for i, array in enumerate(program.weights)}
    arrays |= {f"{_HEAD}/{i:05}": np.asarray(array) for i, array in enumerate(program.head_weights)}
    content = {
        _ABOUT: members.to_json(about),
        _BACKBONE: bytes(backbone.serialize()),
        _HEAD: bytes(head.serialize()),
        members.WEIGHTS: members.arrays_to_bytes(arrays),
    }
    if trust.recalibration is not None:
        content[members.RECALIBRATION] = members.to_json(trust.recalibration.to_dict())
    if trust.familiarity is not None:
        content[members.FAMILIARITY] = members.familiarity_to_bytes(trust.familiarity)
    if too_large := [name for name in content if len(content[name]) > _LIMITS[name]]:
        raise DataError(f"{', '.join(too_large)} of it are too large")
    members.bytes_to_arrays(content[members.WEIGHTS])  # Raises where it could not be read again.
    return content


def _model_files(workdir: Path) -> list[Any]:
    if is_bundle(workdir):
        return _files(workdir.parent, workdir.name)
    patterns = ("config.json", "trained_on.json", "evaluation/*", "checkpoints/**/*")
    return [one for pattern in patterns for one in _files(workdir, pattern)]


def _files(folder: Path, pattern: str) -> list[Any]:
    """Names, and what changes whenever a file's content does."""
    found = []
    for path in sorted(folder.glob(pattern)):
        told = path.stat()
        found.append([str(path.relative_to(folder)), told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino])
    return found


def _exported(container: Container, name: str) -> export.Exported:
    return export.deserialize(bytearray(container.read(name)))


def _remove_old(folder: Path) -> None:
    """All but those that were used last."""
    with suppress(OSError):  # Another process may be removing the same.
        by_use = sorted(folder.glob("*.scorer"), key=lambda path: path.stat().st_mtime)
        for path in by_use[:-MOST]:
            path.unlink()
