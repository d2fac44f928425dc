"""What lies on this machine: compiled programs, datasets, weights; and room for more."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from aqa_jax.doctor.finding import BROKEN, FINE, NOTE, Finding, size

_LITTLE, _SOME = 1e9, 10e9
_SUFFIXES = (".pt", ".pth", ".safetensors", ".ckpt.index", ".tar")
_FOLDERS = (".", "weights", "checkpoints", "pretrained")
_LARGEST = 2e9  # a file of more than this is not read through


def cache() -> Iterator[Finding]:
    """The compilation cache: where, how large, whether it can be written to."""
    import jax

    from aqa_jax import compilation

    compilation.prepare()
    folder = Path(jax.config.values["jax_compilation_cache_dir"] or os.path.expanduser("~/.cache/aqa_jax/xla"))
    files = [path for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
    held = f"{folder}: {len(files)} files, {size(sum(path.stat().st_size for path in files))}"
    if _writable(folder):
        yield Finding("places", "compiled programs", held)
    else:
        fix = "set JAX_COMPILATION_CACHE_DIR to a folder of yours: without one every start compiles anew"
        yield Finding("places", "compiled programs", f"{held}; not writable", NOTE, fix)


def disk(data_dir: Path) -> Iterator[Finding]:
    """Room in the working folder, beside the data, and for temporary files."""
    seen: set[int] = set()
    for name, folder in (("here", Path.cwd()), ("data", data_dir), ("temporary", Path(tempfile.gettempdir()))):
        there = _existing(folder)
        device = os.stat(there).st_dev
        if device in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(there).free
        state = BROKEN if free < _LITTLE else NOTE if free < _SOME else FINE
        fix = "make room: checkpoints, built datasets and results need some gigabytes" if state != FINE else ""
        if not _writable(folder):
            state, fix = BROKEN if name != "data" else NOTE, f"no files can be made in {folder}: change its permissions"
        yield Finding("places", f"disk, {name}", f"{size(free)} free at {there}", state, fix)


def datasets(data_dir: Path) -> Iterator[Finding]:
    """What is built in the data folder, and whether it is whole."""
    from aqa_jax.data.video_store import VideoStore
    from aqa_jax.errors import DataError

    if not data_dir.is_dir():
        how = "a run builds what it needs; elsewhere: --config.data.data_dir=DIR"
        yield Finding("places", "datasets", f"none: there is no folder {data_dir} yet ({how})")
        return
    found = sorted({path.parent for path in data_dir.glob("*/*/*/dataset_info.json")})
    broken = []
    whole = []
    for folder in found:
        try:
            store = VideoStore.open(folder)
        except DataError as error:
            broken.append((folder, str(error)))
        else:
            used = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
            whole.append(f"{folder.relative_to(data_dir)} ({len(store.table)} videos, {size(used)})")
    if whole:
        shown = ", ".join(whole[:8]) + (f" and {len(whole) - 8} more" if len(whole) > 8 else "")
        yield Finding("places", "datasets", f"{len(whole)} whole in {data_dir}: {shown}")
    elif not broken:
        yield Finding("places", "datasets", f"none in {data_dir} yet: a run builds what it needs")
    for folder, problem in broken:
        fix = f"remove {folder}: the next run builds it anew"
        yield Finding("places", "dataset", problem.split(": remove")[0], BROKEN, fix)
    if left := sorted(data_dir.glob("*/*/incomplete.*")):
        fix = f"if no build is running: rm -r {' '.join(map(str, left))} (the next build of the same does so itself)"
        yield Finding("places", "unfinished builds", f"{len(left)}", NOTE, fix)


def weights() -> Iterator[Finding]:
    """The backbone that is included, and files that look like weights where people put them."""
    from aqa_jax.errors import WeightsError
    from aqa_jax.weights.safetensors_io import read_safetensors

    starter = Path(__file__).parents[1] / "starter" / "backbone.safetensors"
    try:
        arrays, _ = read_safetensors(starter)
        yield Finding("places", "starter backbone", f"included, {len(arrays)} arrays")
    except (WeightsError, OSError) as error:
        fix = "install aqa_jax again, or fetch the file from the repository"
        yield Finding("places", "starter backbone", str(error), BROKEN, fix)
    files = [
        path
        for name in _FOLDERS
        for path in sorted(Path(name).glob("*"))
        if path.is_file() and path.name.endswith(_SUFFIXES) and not path.name.startswith(".")
    ]
    for path in files[:20]:
        yield _weight_file(path)
    if not files:
        where = ", ".join(f"{name}/" for name in _FOLDERS if name != ".")
        yield Finding(
            "places", "Kinetics weights",
            f"none here or in {where}: the configs of published datasets want some (docs/weights.md says which)",
        )  # fmt: skip


def named(paths: Mapping[str, str]) -> Iterator[Finding]:
    """What the given config names, by key: raw data, weights, adapters; what is empty is not looked for."""
    for key, value in paths.items():
        if not value or value == "starter":
            continue
        path = Path(value)
        there = path.exists() or Path(f"{value}.index").exists()
        if not there:
            yield Finding("config", key, f"there is no {path}", BROKEN, f"give the right path: --config.{key}=PATH")
        elif key == "model.weights" and not path.is_dir():
            found = _weight_file(path)
            yield Finding("config", key, found.value, BROKEN if found.state == NOTE else FINE, found.fix)
        else:
            yield Finding("config", key, f"{path} is there")


def _weight_file(path: Path) -> Finding:
    from aqa_jax.errors import AqaError
    from aqa_jax.weights.describe import describe
    from aqa_jax.weights.known import identify

    if path.is_file() and path.stat().st_size > _LARGEST:
        return Finding("places", "weights", f"{path}: {size(path.stat().st_size)}, not looked into")
    file = str(path).removesuffix(".index")
    try:
        known = identify(file)
        text = known.describe() if known else describe(file).splitlines()[0].removeprefix(f"{file}: ")
        return Finding("places", "weights", f"{path}: {text}")
    except (AqaError, OSError) as error:
        fix = "not a file that --config.model.weights takes; docs/weights.md lists them"
        return Finding("places", "weights", str(error).splitlines()[0], NOTE, fix)


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def _writable(folder: Path) -> bool:
    """Whether a file can be made there, or in the first folder above it that exists: tried."""
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(folder)):
            return True
    except OSError:
        return False
