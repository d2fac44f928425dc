"""Clips a second into a training: our loader, and the way of the published PyTorch code, on equal output.

    python benchmarks/input.py [--videos 16] [--rounds 5] [--workers N] [--size 406x720]

Needs requirements-benchmark.txt. A clip is the 103 frames of a dive, resized to 455x256, the centre 224x224, normalised
by ImageNet's mean and standard deviation, float32. Both sides start from the same JPEG files (a real video, scaled to
``--size``): the published code (USDL, MUSDL, DAE: PIL, torchvision, a torch DataLoader) reads and resizes them every
time; our builder reads and resizes them once, and the loader decodes what it stored. All loaders have the same cores,
and are timed in turn, each over all videos from a standing start.

  published                 as above
  published_resized_before  the same code on JPEG files that were resized beforehand, so that it only reads and crops
  ours                      equal output: our loader, then float32 on the host, by a table
  ours_uint8                what training does on the host: the step normalises on the device
  ours_cast_on_device       that, and the normalising by jax (on a CPU: on the same cores)
  ours_uint8_cached         the second and later epochs where the decoded frames fit into memory

The outputs are compared: they are not equal to the bit, for ours went through a second JPEG compression, and PIL and
OpenCV shrink with other filters. `recompressed` and `filter` in the JSON say how much each is worth.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

try:
    import torch
    from torchvision import transforms
except ImportError:
    sys.exit("This is measured beside torch: pip install -r requirements-benchmark.txt")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import report
from absl import flags

from aqa_jax.data.build import build
from aqa_jax.data.decode import cv2, decode_jpeg, iterate_frames, read_image, resize
from aqa_jax.data.encode import encode_jpeg
from aqa_jax.data.frame_cache import FrameCache
from aqa_jax.data.pipeline import eval_iterator
from aqa_jax.data.records import FRAMES_PER_RECORD, decode_record
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.data.video_store import VideoStore

FRAMES, HEIGHT, WIDTH, CROP = 103, 256, 455, 224
# As our loader cuts the centre; torchvision's CenterCrop rounds 115.5 up.
TOP, LEFT = (HEIGHT - CROP) // 2, (WIDTH - CROP) // 2
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
# What normalising makes of each value of each channel: float32 [1, 256, 3].
TABLE = ((np.arange(256, dtype=np.float32)[:, None] / np.float32(255) - MEAN) / STD)[None]
QUALITY = 90
VIDEO = report.REPO / "tests" / "data" / "videos" / "demo.mp4"


class PublishedDataset(torch.utils.data.Dataset):
    """A folder of JPEG files to float32 [103, 3, 224, 224], frame by frame, as the published datasets do it.

    They draw the resize filter anew for every frame (nearest, bilinear, bicubic, Lanczos); here it is always bilinear,
    the cheaper of those that interpolate.
    """

    def __init__(self, folders: list[str], resized: bool = False):
        """Reads ``folders``; ``resized``: their images have the wanted size already."""
        self.folders, self.resized = folders, resized
        self.transform = transforms.Compose(
            [
                transforms.Lambda(_cropped),
                transforms.ToTensor(),
                transforms.Normalize(MEAN.tolist(), STD.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, index: int) -> torch.Tensor:
        frames = torch.zeros(FRAMES, 3, CROP, CROP)
        for place, name in enumerate(sorted(os.listdir(self.folders[index]))[:FRAMES]):
            image = Image.open(os.path.join(self.folders[index], name)).convert("RGB")
            if not self.resized:
                image = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
            frames[place] = self.transform(image)
        return frames


def _cropped(image: Image.Image) -> Image.Image:
    return image.crop((LEFT, TOP, LEFT + CROP, TOP + CROP))


def make_images(folder: Path, videos: int, size: tuple[int, int]) -> None:
    """``videos`` folders of JPEG files of ``size``: pieces of a real video, every other one mirrored."""
    frames = list(iterate_frames(VIDEO, size=size))
    for video in range(videos):
        path = folder / f"{video:03d}"
        path.mkdir(parents=True)
        start = video * 37 % (len(frames) - FRAMES + 1)
        for number, frame in enumerate(frames[start : start + FRAMES]):
            image = np.ascontiguousarray(frame[:, ::-1]) if video % 2 else frame
            (path / f"{number:05d}.jpg").write_bytes(encode_jpeg(image, QUALITY))


class Normaliser:
    """uint8 batches [B, 1, 103, H, W, 3] to float32 [B, 103, H, W, 3] on the host, in two arrays that take turns."""

    def __init__(self, batch: int, threads: int):
        """Makes the arrays for ``batch`` clips: fresh memory for every batch would cost as much as the work."""
        self._arrays = [np.empty((batch, FRAMES, CROP, CROP, 3), np.float32) for _ in range(2)]
        self._pool = ThreadPoolExecutor(threads)

    def __call__(self, batches: Iterator[dict[str, np.ndarray]]) -> Iterator[np.ndarray]:
        """Each result is overwritten by the one after the next."""
        for number, batch in enumerate(batches):
            out = self._arrays[number % 2]
            list(self._pool.map(self._one, batch["video"][:, 0], out))
            yield out

    @staticmethod
    def _one(frames: np.ndarray, out: np.ndarray) -> None:
        for frame, place in zip(frames, out, strict=True):
            cv2.LUT(frame, TABLE, place)


def on_device(batches: Iterator[dict[str, np.ndarray]]) -> Iterator[Any]:
    """uint8 to float32 on jax's device, as the compiled step does it."""
    import jax
    import jax.numpy as jnp

    cast = jax.jit(lambda video: (video.astype(jnp.float32) / 255 - MEAN) / STD)
    for batch in batches:
        yield jax.block_until_ready(cast(batch["video"][:, 0]))


def consumer(batches: Callable[[], Iterator[Any]]) -> Callable[[], None]:
    """Goes through all batches once."""

    def go() -> None:
        for _ in batches():
            pass

    return go


def differences(theirs: np.ndarray, ours: np.ndarray) -> dict[str, float]:
    """Largest and mean absolute difference, in levels of 0..255; both float32 [..., 3], normalised."""
    levels = np.abs(theirs - ours) * STD * 255
    return {"max": float(levels.max()), "mean": float(levels.mean())}


def explain(folder: str, store: VideoStore, ours: np.ndarray) -> dict[str, dict[str, float]]:
    """How far the first clip is from theirs, and how far it would be without each of the two causes."""
    theirs = PublishedDataset([folder])[0].permute(0, 2, 3, 1).numpy()
    paths = sorted(Path(folder).glob("*.jpg"))[:FRAMES]
    area = np.stack([_normal(resize(read_image(path), (HEIGHT, WIDTH))) for path in paths])
    stored = store.read(0, np.arange(FRAMES))
    same = np.stack([TABLE[0][frame, np.arange(3)] for frame in stored[:, TOP : TOP + CROP, LEFT : LEFT + CROP]])
    assert np.array_equal(same, ours), "the loader's clip is not what is stored"
    return {
        "outputs": differences(theirs, ours),
        "filter": differences(theirs, area),
        "recompressed": differences(area, ours),
    }


def _normal(frame: np.ndarray) -> np.ndarray:
    return TABLE[0][frame[TOP : TOP + CROP, LEFT : LEFT + CROP], np.arange(3)]


def parts(store: VideoStore) -> dict[str, float]:
    """Milliseconds that one thread spends on a clip: best of a few, of each part by itself and of all together."""
    first, count = int(store.table.column("first_record")[0]), -(-FRAMES // FRAMES_PER_RECORD)
    out = np.empty((FRAMES, CROP, CROP, 3), np.uint8)
    records = store._records("train", range(first, first + count))
    jpegs = [jpeg for record in records for jpeg in decode_record(record)][:FRAMES]
    images = [decode_jpeg(jpeg, "a frame") for jpeg in jpegs]

    def crop_and_copy() -> None:
        for place, image in enumerate(images):
            out[place] = cv2.flip(image[TOP : TOP + CROP, LEFT : LEFT + CROP], 1)

    functions = {
        "read_records": lambda: store._records("train", range(first, first + count)),
        "find_frames": lambda: [decode_record(record) for record in records],
        "decode": lambda: [decode_jpeg(jpeg, "a frame") for jpeg in jpegs],
        "crop_mirror_copy": crop_and_copy,
        "all": lambda: store.read(0, np.arange(FRAMES), crop=(TOP, LEFT, CROP, CROP), flip=True, out=out),
    }
    return {name: 1000 * min(times) for name, times in report.interleaved(functions, 5).items()}


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All loaders over the images in ``folder`` / originals."""
    workers, size = arguments.workers, arguments.batch
    started = time.perf_counter()
    path = build(
        "benchmarks/image_folders", data_dir=folder / "data", raw_dir=folder / "originals", options={}, workers=workers
    )
    build_seconds = time.perf_counter() - started
    store = VideoStore.open(path)
    rows = store.table.rows("train")
    for row in rows:
        target = folder / "resized" / f"{row:03d}"
        target.mkdir(parents=True)
        for number, frame in enumerate(store.read(row, np.arange(FRAMES))):
            (target / f"{number:05d}.jpg").write_bytes(encode_jpeg(frame, QUALITY))

    def published(name: str) -> Callable[[], Iterator[Any]]:
        folders = sorted(str(path) for path in (folder / name).iterdir())
        loader = torch.utils.data.DataLoader(
            PublishedDataset(folders, resized=name == "resized"), batch_size=size, num_workers=workers,
            persistent_workers=True, multiprocessing_context="forkserver", worker_init_fn=_one_thread,
        )  # fmt: skip
        return lambda: iter(loader)

    def ours(cache: FrameCache | None = None) -> Iterator[dict[str, np.ndarray]]:
        window = ClipWindow(FRAMES, FRAMES, (0,), 0)
        return iter(
            eval_iterator(
                store, rows, window, columns=(), batch_size=size, crop_size=CROP, threads=workers, cache=cache
            )
        )

    kept, on_host = FrameCache(1 << 40), Normaliser(size, workers)
    loaders = {
        "published": published("originals"),
        "published_resized_before": published("resized"),
        "ours": lambda: on_host(ours()),
        "ours_uint8": ours,
        "ours_cast_on_device": lambda: on_device(ours()),
        "ours_uint8_cached": lambda: ours(kept),
    }
    times = report.interleaved({name: consumer(loader) for name, loader in loaders.items()}, arguments.rounds)
    clips = {name: len(rows) / seconds for name, seconds in report.medians(times).items()}
    return {
        "clips_per_second": clips,
        "times_faster": {name: report.ratio(times["published"], times[name]) for name in times if name != "published"},
        "seconds": times,
        "difference_in_levels": explain(str(folder / "originals" / "000"), store, next(on_host(ours()))[0]),
        "milliseconds_a_clip": parts(store),
        "build_seconds_once": build_seconds,
        "kilobytes_a_frame": {
            "originals": _kilobytes(folder / "originals"),
            "stored": sum(s["bytes"] for s in store.metadata["shards"]["train"]) / len(rows) / FRAMES / 1024,
        },
    }


def _kilobytes(folder: Path) -> float:
    sizes = [path.stat().st_size for path in folder.glob("*/*.jpg")]
    return sum(sizes) / len(sizes) / 1024


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def main() -> None:
    """Measures, prints a table and writes the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4, help="clips a batch, for all loaders")
    parser.add_argument("--workers", type=int, default=cores, help="DataLoader processes, and our threads")
    parser.add_argument("--size", default="406x720", help="height x width of the original images")
    parser.add_argument("--out", default="input", help="name in benchmarks/results/, or a file")
    arguments = parser.parse_args()
    flags.FLAGS.mark_as_parsed()  # Grain reads absl's flags.
    height, width = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder) / "originals", arguments.videos, (height, width))
        result = measure(Path(folder), arguments)
    settings = {k: v for k, v in vars(arguments).items() if k != "out"} | {"frames": FRAMES, "crop": CROP}
    path = report.write(arguments.out, report.rounded({"settings": settings, **result}))
    table = [
        (name, clips, result["times_faster"].get(name, {"median": 1.0})["median"])
        for name, clips in result["clips_per_second"].items()
    ]
    print(report.markdown(("loader", "clips/s", "times the published way"), table))
    print(f"milliseconds a clip, one thread: {report.rounded(result['milliseconds_a_clip'], 3)}")
    print(f"difference in levels of 0..255: {report.rounded(result['difference_in_levels'], 3)}")
    print(f"figures: {path}")


if __name__ == "__main__":
    main()
