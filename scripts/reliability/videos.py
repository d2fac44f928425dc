"""Mutated videos through `predict`: each is a typed error, a flagged score, or shows the very pixels it showed before.

    taskset -c 0 nice -n 10 python scripts/reliability/videos.py --n 2000

Videos of four codecs are cut, flipped, forged, rotated and given variable rates (mutations.py), then scored as a person
scores them: by :func:`aqa_jax.predict.predict.predict`, a batch of files at a time, with a scorer that costs nothing.
Counted are files without exactly one row, files that take more than ten seconds or a gigabyte, and pixels that changed
with nobody told. The last cannot be nought where a codec has no redundancy: a flipped bit may be another valid video.
So every file is tried twice: by its contents alone, and beside a SHA256SUMS that records what it was before. The row
passes if nothing goes unnoticed beside the record, and every result without one says that nothing vouches for its file
(`checksum: none`); how many of those show other pixels is counted (`unnoticed_by_contents`).
"""

import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import common
import numpy as np
from mutations import HARMLESS, MUTATIONS

from aqa_jax.data import checksums, decode
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.predict import predict as predict_module
from aqa_jax.predict.input_format import InputFormat
from aqa_jax.predict.inputs import find_videos
from aqa_jax.predict.predict import predict
from aqa_jax.predict.sandbox import Sandbox
from aqa_jax.predict.video_clips import VideoClips, choose_frames, read_clips

SECONDS, MEGABYTES = 10.0, 1024
FORM = InputFormat(ClipWindow(window=16, clip_length=8, clip_starts=(0, 8), max_shift=3), (64, 96), (64, 64))
REAL = common.REPO / "tests" / "data" / "videos" / "demo.mp4"
BATCH = 50
UNNOTICED = "CHANGED, BUT SCORED"


class Told(NamedTuple):
    """Scores that need no model."""

    mean: np.ndarray
    sigma: np.ndarray

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """[B] twice."""
        return self.mean - self.sigma, self.mean + self.sigma


class Brightness:
    """Scores a video by its mean."""

    def prepare(self, batch_size: int) -> None:
        """Nothing to do."""

    def score(self, video: np.ndarray, difficulty: np.ndarray | None, *, plain: bool = False) -> Told:
        """uint8 [B, S, T, H, W, 3] to scores [B]."""
        mean = video.mean((1, 2, 3, 4, 5))
        return Told(mean, np.ones_like(mean))


def rendered(rng: np.random.Generator, frames: int = 40) -> Iterator[np.ndarray]:
    """A moving disc before a texture: uint8 RGB [96, 128, 3]."""
    scene = decode.cv2.GaussianBlur(rng.integers(0, 256, (96, 128, 3)).astype(np.float32), (0, 0), 3)
    scene = ((scene - scene.min()) / np.ptp(scene) * 255).astype(np.uint8)
    for i in range(frames):
        frame = scene.copy()
        decode.cv2.circle(frame, (20 + 2 * i, 48), 12, (255, 40, 10), -1)
        yield frame


def write_bases(folder: Path) -> dict[str, Path]:
    """A video of each codec: MPEG-4, motion JPEG, VP9 (rendered) and a camera's H.264."""
    rng = np.random.default_rng(0)
    bases = {"mpeg4": folder / "base.mp4", "mjpeg": folder / "base.avi", "vp9": folder / "base.webm", "h264": REAL}
    decode.write_video(bases["mpeg4"], rendered(rng))
    decode.write_video(bases["mjpeg"], rendered(rng))
    writer = decode.cv2.VideoWriter(
        str(bases["vp9"]), decode.cv2.CAP_FFMPEG, decode.cv2.VideoWriter.fourcc(*"VP90"), 25, (128, 96)
    )
    for frame in rendered(rng):
        writer.write(frame)
    writer.release()
    return bases


class Watch:
    """Measures each file's decoding: seconds, and the largest memory of a child so far; keeps what came out."""

    def __init__(self) -> None:
        self.clips: dict[str, VideoClips] = {}
        self.seconds: dict[str, float] = {}
        self.peak_mb = 0.0

    def read(self, path: Path, *arguments: Any, sandbox: Sandbox) -> VideoClips:
        """In place of `read_clips`."""
        started = time.monotonic()
        try:
            clips = read_clips(path, *arguments, sandbox=sandbox)
            self.clips[str(path)] = clips
            return clips
        finally:
            self.seconds[str(path)] = time.monotonic() - started
            for pid in sandbox.pids:
                self.peak_mb = max(self.peak_mb, peak_mb(pid))


def peak_mb(pid: int) -> float:
    """The largest resident memory of a process so far; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def main() -> int:
    """Runs it."""
    given = common.options(__doc__ or "", 2000).parse_args()
    rng = np.random.default_rng(given.seed)
    counts, recorded = Counter[str](), Counter[str]()
    silent: list[dict[str, Any]] = []
    wrong: list[str] = []
    watch = Watch()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary, patch.object(predict_module, "read_clips", watch.read):
        bases = write_bases(Path(temporary))
        with Sandbox(SECONDS, MEGABYTES) as sandbox:
            right = {
                codec: read_clips(path, FORM.window, FORM.frame_size, FORM.crop_size, sandbox=sandbox)
                for codec, path in bases.items()
            }
        wrong += [f"{codec}: untouched, but flagged: {clips.damage}" for codec, clips in right.items() if clips.damage]
        data = {codec: path.read_bytes() for codec, path in bases.items()}
        for first in range(0, given.n, BATCH):
            folder = Path(temporary) / f"batch{first}"
            folder.mkdir()
            cases = {}
            for i in range(first, min(first + BATCH, given.n)):
                codec = list(bases)[i % len(bases)]
                name = list(MUTATIONS)[i // len(bases) % len(MUTATIONS)]
                path = folder / f"{i}{bases[codec].suffix}"
                path.write_bytes(MUTATIONS[name](data[codec], rng))
                cases[str(path)] = codec, name
            report = predict(
                find_videos(folder), Brightness(), folder / "out", form=FORM, batch_size=4, threads=1,
                decode_seconds=SECONDS, decode_mb=MEGABYTES - 256, progress=False,
            )  # fmt: skip
            rows = {row["file"]: row for row in report.rows}
            wrong += [
                f"{name}: nothing is recorded, but {row['checksum']}"
                for name, row in rows.items()
                if row["checksum"] != checksums.NONE
            ]
            for path_name, (codec, name) in cases.items():
                outcome, difference = judged(
                    rows, report.errors, path_name, right[codec], watch.clips.get(path_name), bases[codec]
                )
                counts[outcome] += 1
                if outcome == "pixels changed, not told":
                    silent.append({"codec": codec, "mutation": name, "largest_frame_change": difference})
                if name in HARMLESS and outcome not in ("same pixels", "turned"):
                    wrong.append(f"{name} of {codec} ({path_name}): {outcome}: {report.errors.get(path_name)}")
                if watch.seconds.get(path_name, 0) > SECONDS:
                    wrong.append(f"{name} of {codec} took {watch.seconds[path_name]:.1f} s")
            outcomes, faults = beside_checksums({Path(name): bases[codec] for name, (codec, _) in cases.items()})
            recorded += outcomes
            wrong += faults
            watch.clips.clear()
            shutil.rmtree(folder)
    counts["files without exactly one row"] = counts.pop("no row", 0) + counts.pop("two rows", 0)
    by_codec = Counter(case["codec"] for case in silent)
    counts["unnoticed_by_contents"] = len(silent)
    counts["unnoticed_with_checksum"] = recorded[UNNOTICED]
    return common.finish(
        "videos", n=given.n, output=given.output, counts=counts,
        passed=not wrong and not counts["files without exactly one row"]
        and not recorded[UNNOTICED] and watch.peak_mb <= MEGABYTES, with_checksum=dict(recorded),
        not_told_by_codec=dict(by_codec), not_told=silent, wrong=wrong,
        largest_seconds=round(max(watch.seconds.values()), 2), largest_child_mb=round(watch.peak_mb),
        minutes=round((time.monotonic() - started) / 60, 1),
    )  # fmt: skip


def beside_checksums(originals: dict[Path, Path]) -> tuple[Counter[str], list[str]]:
    """What comes of mutated files beside a SHA256SUMS of what they were: how often, and what must not be.

    Args:
      originals: mutated file -> the file that it was made from.
    """
    found, wrong = Counter[str](), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        was = {folder / "in" / path.name: (path, checksums.digest(base)) for path, base in originals.items()}
        (folder / "in").mkdir()
        for copy, (path, _) in was.items():
            shutil.copyfile(path, copy)
        lines = [f"{sha256}  {copy.name}\n" for copy, (_, sha256) in was.items()]
        (folder / "in" / checksums.NAME).write_text("".join(lines))
        report = predict(
            find_videos(folder / "in"), Brightness(), folder / "out", form=FORM, batch_size=4, threads=1,
            decode_seconds=SECONDS, decode_mb=MEGABYTES - 256, progress=False,
        )  # fmt: skip
        rows = {row["file"]: row for row in report.rows}
        for copy, (path, sha256) in was.items():
            name, changed = str(copy), checksums.digest(path) != sha256
            if name in rows and rows[name]["checksum"] == checksums.VERIFIED:
                outcome = UNNOTICED if changed else "as recorded, scored"
            elif "differs from the checksum recorded for it" in report.errors.get(name, ""):
                outcome = "changed, refused" if changed else "AS RECORDED, BUT REFUSED"
            else:
                outcome = "NEITHER"
            found[outcome] += 1
            if outcome.isupper():
                wrong.append(f"beside a SHA256SUMS: {path.name}: {outcome}: {report.errors.get(name)}")
    return found, wrong


def judged(
    rows: dict[str, Any], errors: dict[str, str], path: str, right: VideoClips, clips: VideoClips | None, base: Path
) -> tuple[str, float]:
    """What came of a file, and the largest mean change of a frame in grey levels."""
    if (path in rows) + (path in errors) != 1:
        return ("two rows" if path in rows else "no row"), 0.0
    if path in errors:
        return "typed error", 0.0
    if rows[path]["damage"]:
        return "flagged", 0.0
    assert clips is not None
    change = np.abs(clips.video.astype(int) - right.video).mean((2, 3, 4)).max()
    if not change:
        return "same pixels", 0.0
    if clips.num_frames == right.num_frames and is_turned(clips.video, right, base):
        return "turned", 0.0
    return "pixels changed, not told", round(float(change), 2)


def is_turned(video: np.ndarray, right: VideoClips, base: Path) -> bool:
    """Whether the frames are those of the untouched video turned on its side, resized and cropped as they are."""
    (height, width), (rows, columns) = FORM.frame_size, FORM.crop_size
    top, left = (height - rows) // 2, (width - columns) // 2
    frame = decode.read_frames(base, choose_frames(right.num_frames, FORM.window)[0].ravel()[:1])[0]
    for quarter in (1, 3):
        turned = decode.resize(np.rot90(frame, quarter).copy(), FORM.frame_size)[
            top : top + rows, left : left + columns
        ]
        if np.abs(turned.astype(int) - video[0, 0]).mean() < 2:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
