"""Which videos this OpenCV really reads and writes: by decoding samples, and by encoding a few frames."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aqa_jax.doctor.finding import BROKEN, FINE, NOTE, Finding

SAMPLES = Path(__file__).parent / "samples"
# A bar of 24 pixels moves by 4 pixels a frame, 8 frames of 64 x 64: name, file, and who makes such.
_READ = (
    ("H.264", "h264.mp4", "cameras, phones", BROKEN),
    ("HEVC", "hevc.mp4", "newer phones", NOTE),
    ("VP9", "vp9.mp4", "the web", NOTE),
    ("AV1", "av1.mp4", "the web", NOTE),
)
# Of OpenCV's writers, those that come into question: name, suffix, four-letter code, what for.
_WRITTEN = (
    ("MPEG-4", ".mp4", "mp4v", BROKEN),
    ("MJPEG", ".avi", "MJPG", NOTE),
    ("H.264", ".mp4", "avc1", FINE),
)
_FRAMES, _SIDE = 8, 64


def codecs() -> Iterator[Finding]:
    """A finding for what is read, and one for what is written; codecs that fail have their own."""
    read, failed = [], []
    for name, file, makers, state in _READ:
        problem = _not_read(SAMPLES / file)
        if problem:
            failed.append((name, f"{problem} ({makers})", state))
        else:
            read.append(name)
    yield Finding("videos", "read", ", ".join(read) or "none", FINE if read else BROKEN)
    for name, problem, state in failed:
        fix = f"re-encode such files: ffmpeg -i IN.mp4 -c:v libx264 -crf 18 OUT.mp4 ({name} to H.264)"
        yield Finding("videos", f"{name} unread", problem, state, fix)
    written, unwritten = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, suffix, code, state in _WRITTEN:
            problem = _not_written(Path(folder, f"{code}{suffix}"), code)
            if problem and state != FINE:
                unwritten.append((name, problem, state))
            elif not problem:
                written.append(name)
        if "H.264" not in written and _pyav_writes(Path(folder, "pyav.mp4")):
            written.append("H.264 (by PyAV)")
    yield Finding("videos", "written", ", ".join(written) or "none", FINE if written else BROKEN)
    for name, problem, state in unwritten:
        fix = "python -m pip install --force-reinstall opencv-python-headless"
        yield Finding("videos", f"{name} unwritten", problem, state, fix)
    if not any(name.startswith("H.264") for name in written):
        fix = "only for videos in browsers: python -m pip install -r requirements-video.txt"
        yield Finding(
            "videos", "H.264 unwritten", "drawn videos are MPEG-4: players show them, browsers do not", NOTE, fix
        )


def bar(frame: int) -> np.ndarray:
    """Frame `frame` of the samples, uint8 RGB [64, 64, 3]: a bright bar from pixel 4 `frame` on."""
    picture = np.full((_SIDE, _SIDE, 3), 30, np.uint8)
    picture[:, 4 * frame : 4 * frame + 24] = 220
    return picture


def _not_read(path: Path) -> str:
    """Why a file of the moving bar is not read rightly; empty: it is."""
    from aqa_jax.data.decode import iterate_frames
    from aqa_jax.errors import DecodeError

    try:
        frames = list(iterate_frames(path))
    except DecodeError as error:
        return str(error).removeprefix(f"{path}: ")
    if len(frames) != _FRAMES:
        return f"{len(frames)} frames came out of {_FRAMES}"
    wrong = [k for k, frame in enumerate(frames) if np.abs(frame.astype(int) - bar(k)).mean() > 16]
    return f"frames {wrong} look different" if wrong else ""


def _not_written(path: Path, code: str) -> str:
    from aqa_jax.data.decode import cv2

    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 25.0, (_SIDE, _SIDE))
    if not writer.isOpened():
        return "OpenCV has no encoder for it here"
    for k in range(_FRAMES):
        writer.write(bar(k)[:, :, ::-1])
    writer.release()
    return _not_read(path)


def _pyav_writes(path: Path) -> bool:
    """Whether PyAV is there and writes H.264, tried as the drawn videos are written."""
    from aqa_jax.errors import DecodeError
    from aqa_jax.predict.playable import H264, write_playable

    try:
        return write_playable(path, (bar(k) for k in range(_FRAMES)), 25.0) == H264 and not _not_read(path)
    except DecodeError:
        return False
