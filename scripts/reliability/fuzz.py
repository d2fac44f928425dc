"""Coverage-guided fuzzing of the readers of foreign files, by atheris (requirements-fuzz.txt); by hand.

    taskset -c 0 nice -n 10 python scripts/reliability/fuzz.py --reader pickle -max_total_time=300

Whatever is no error of ours ends the run, and libFuzzer keeps the input in the current folder (crash-…). Readers:
pickle, torch, safetensors, adapter, tf_index, csv, video. Options of libFuzzer follow ours.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
with atheris.instrument_imports(include=["aqa_jax", "pickletools", "zipfile", "csv"]):
    from aqa_jax import files, pickle_names, safe_pickle  # noqa: F401
    from aqa_jax.errors import AqaError
    from aqa_jax.weights import adapter_file, safetensors_io, tf_checkpoint, torch_file

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
MAX_BYTES = 4096


def _file(reader: Callable[[Path], object], name: str, folder: Path) -> Callable[[bytes], None]:
    path = folder / name

    def test(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(AqaError):
            reader(path)

    return test


def _pickle(data: bytes) -> None:
    with contextlib.suppress(AqaError):
        safe_pickle.load(data)


def _video(folder: Path) -> Callable[[bytes], None]:
    from aqa_jax.data import decode

    # No process of its own: what crashes the decoder is to be seen. FFmpeg itself is not instrumented.
    return _file(lambda path: decode.choose_and_read(path, lambda n: range(min(n, 4)), size=(8, 8)), "a.mp4", folder)  # type: ignore[arg-type,return-value]


def main() -> None:
    """Runs until something breaks, or as long as libFuzzer's options say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", default="pickle")
    given, rest = parser.parse_known_args()
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    tests: dict[str, Callable[[], Callable[[bytes], None]]] = {
        "pickle": lambda: _pickle,
        "torch": lambda: _file(torch_file.read_torch, "a.pth", folder),
        "safetensors": lambda: _file(safetensors_io.read_safetensors, "a.safetensors", folder),
        "adapter": lambda: _file(adapter_file.read_adapter, "a.safetensors", folder),
        "tf_index": lambda: _file(tf_checkpoint.read_index, "m.index", folder),
        "csv": lambda: _file(files.read_csv, "a.csv", folder),
        "video": lambda: _video(folder),
    }
    seeds = folder / "seeds"
    seeds.mkdir()
    for path in [*(GOLDEN / "torch_files").glob("*.pth"), *(GOLDEN / "tf_checkpoint").glob("*.index")]:
        if (path.suffix == ".index") == (given.reader == "tf_index"):
            (seeds / path.name).write_bytes(path.read_bytes())
    options = [f"-max_len={MAX_BYTES}", "-rss_limit_mb=2048", "-timeout=20"]
    atheris.Setup([sys.argv[0], *options, *rest, str(seeds)], tests[given.reader]())
    atheris.Fuzz()


if __name__ == "__main__":
    main()
