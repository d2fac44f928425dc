"""Images and video files to uint8 RGB frames; every fault a DecodeError that says what and where.

Frame counts and seeks of containers lie, so videos are decoded in order and counted. OpenCV reports damage
*inside* a JPEG's compressed data only on stderr: what is caught here is a file that is cut short, is no
JPEG, or does not decode. The records of a dataset carry checksums of their own.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Read once, when OpenCV loads: a forged header must not allocate gigabytes, and chatter hides our messages.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(64 * 1024 * 1024))
os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# The containers that are scored, by FFmpeg's names, and raw streams. A playlist (HLS, DASH, concat) is none of them: it
# would show another file's frames, or fetch them, under this file's name.
os.environ.setdefault(
    "OPENCV_FFMPEG_CAPTURE_OPTIONS",
    "protocol_whitelist;file|format_whitelist;mov,matroska,avi,asf,flv,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ogg,mxf,dv",
)

import cv2
import numpy as np

from aqa_jax.data import checksums
from aqa_jax.errors import AqaError, DecodeError

# Readers are threads and processes of our own; OpenCV's would spin beside them, and beside XLA's, for cores.
cv2.setNumThreads(1)

__all__ = [
    "check_video",
    "choose_and_read",
    "count_frames",
    "cv2",
    "decode_jpeg",
    "iterate_frames",
    "read_frames",
    "read_image",
    "resize",
    "write_video",
]

PathLike = str | os.PathLike[str]
Size = tuple[int, int]  # height, width in pixels
Box = tuple[int, int, int, int]  # top, left, height, width in pixels
# Containers count a few frames that never come out (edit lists, a rounded duration); damage costs more
# than that.
_MISSING_SHARE = 0.05
_MISSING_FRAMES = 3
_MAX_PIXELS = 64 * 1024 * 1024
_MAX_IMAGE_BYTES = 64 * 1024 * 1024
_IMAGES = (b"\xff\xd8", b"\x89PNG\r\n")


def decode_jpeg(data: bytes | memoryview, what: str) -> np.ndarray:
    """Decode one whole JPEG to uint8 RGB [H, W, 3]; `what` names it in errors."""
    if bytes(data[:2]) != b"\xff\xd8":
        raise DecodeError(f"{what}: not a JPEG")
    if bytes(data[-2:]) != b"\xff\xd9" and not bytes(data).rstrip(b"\0\r\n").endswith(b"\xff\xd9"):
        raise DecodeError(f"{what}: the JPEG is cut short")
    return _decode(data, what)


def _decode(data: bytes | memoryview, what: str) -> np.ndarray:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DecodeError(f"{what}: OpenCV refuses the image ({error.err})") from error
    if image is None:
        raise DecodeError(f"{what}: the image is damaged, or of a kind OpenCV cannot read")
    return image


def read_image(path: PathLike, expected: checksums.Expected | None = None) -> np.ndarray:
    """Read an image file (a JPEG with `decode_jpeg`, or a PNG) to uint8 RGB [H, W, 3].

    Args:
      path: of the file.
      expected: what is recorded of its bytes.

    Raises:
      DecodeError: the file is missing, empty, larger than 64 MiB, of another kind, or damaged.
      ChecksumError: it is not what was recorded; nothing of it is decoded.
    """
    try:
        if os.path.getsize(path) > _MAX_IMAGE_BYTES:
            raise DecodeError(f"{path}: larger than {_MAX_IMAGE_BYTES} bytes, which no frame is")
        data = Path(path).read_bytes()
    except OSError as error:
        raise DecodeError(f"{path}: {error.strerror}") from error
    if expected is not None:
        checksums.compare(path, hashlib.sha256(data).hexdigest(), expected)
    if not data:
        raise DecodeError(f"{path}: the file is empty")
    # OpenCV has readers of a dozen more kinds, which nobody stores frames in.
    if not data.startswith(_IMAGES):
        raise DecodeError(f"{path}: not a JPEG or PNG image")
    return decode_jpeg(data, str(path)) if Path(path).suffix.lower() in (".jpg", ".jpeg") else _decode(data, str(path))


def resize(frame: np.ndarray, size: Size, crop: Box | None = None) -> np.ndarray:
    """Resize [H, W, 3] to `size` (height, width): area averaging when shrinking, else bilinear; then cut to `crop`."""
    if frame.shape[:2] == tuple(size):
        return frame if crop is None else _cut(frame, crop)
    shrinks = size[0] * size[1] < frame.shape[0] * frame.shape[1]
    if crop is not None and size[0] <= frame.shape[0] and size[1] <= frame.shape[1]:
        frame, size, crop = _needed(frame, size, crop)
    resized = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return resized if crop is None else _cut(resized, crop)


def _cut(frame: np.ndarray, crop: Box) -> np.ndarray:
    top, left, height, width = crop
    return frame[top : top + height, left : left + width]


def _needed(frame: np.ndarray, size: Size, crop: Box) -> tuple[np.ndarray, Size, Box]:
    """The part of a frame that `crop` is made of, with its own size and crop: averages over areas come out the same.

    They do where the part begins and ends between two pixels of both the frame and the resized one.
    """
    parts, sizes, starts = [], [], []
    for pixels, resized, start, length in zip(frame.shape, size, crop[:2], crop[2:], strict=False):
        both = math.gcd(pixels, resized)
        step, resized_step = pixels // both, resized // both
        first, last = start // resized_step, -(-(start + length) // resized_step)
        parts.append(slice(first * step, last * step))
        sizes.append((last - first) * resized_step)
        starts.append(start - first * resized_step)
    rows, columns = parts
    return frame[rows, columns], (sizes[0], sizes[1]), (starts[0], starts[1], *crop[2:])


@contextmanager
def _opened(path: PathLike) -> Iterator[cv2.VideoCapture]:
    try:
        if not Path(path).is_file():
            raise DecodeError(f"{path}: no such file")
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise DecodeError(f"{path}: {error.strerror}") from error
    # FFmpeg renders text files as terminal output.
    if b"\0" not in head:
        raise DecodeError(f"{path}: not a video")
    # Named, or OpenCV would take an image, or a name like img_%05d.jpg, for a video. It honours rotation flags.
    # Absolute, or FFmpeg would take a name with a colon for an address.
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    try:
        # FFmpeg opens pictures as videos of one frame.
        is_image = cv2.haveImageReader(str(path)) and capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 1
        if not capture.isOpened() or is_image:
            raise DecodeError(f"{path}: not a video, or one whose index is cut off")
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not 0 < width * height <= _MAX_PIXELS:
            raise DecodeError(f"{path}: frames of {width:.0f} x {height:.0f} pixels; at most {_MAX_PIXELS} are decoded")
        yield capture
    except cv2.error as error:
        raise DecodeError(f"{path}: OpenCV cannot decode it ({error.err})") from error
    finally:
        capture.release()


def _check_count(path: PathLike, capture: cv2.VideoCapture, count: int, accept_damaged: bool) -> None:
    claimed = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    missing = claimed - count
    if not count:
        raise DecodeError(f"{path}: no frame can be decoded")
    if not accept_damaged and missing > max(_MISSING_FRAMES, _MISSING_SHARE * claimed):
        raise DecodeError(
            f"{path}: damaged: {count} of {claimed} frames can be decoded; "
            "repair or re-encode it, or accept damaged videos to use what there is"
        )


def check_video(path: PathLike) -> None:
    """Open a video without decoding it; DecodeError when it is none, or is cut off. Damage inside goes unseen."""
    with _opened(path):
        pass


def count_frames(path: PathLike, *, accept_damaged: bool = False) -> int:
    """Number of frames that really decode.

    Raises:
      DecodeError: not a video; or (unless `accept_damaged`) far fewer frames than the container claims.
    """
    with _opened(path) as capture:
        count = 0
        while capture.grab():
            count += 1
        _check_count(path, capture, count, accept_damaged)
    return count


def iterate_frames(path: PathLike, *, size: Size | None = None, accept_damaged: bool = False) -> Iterator[np.ndarray]:
    """Yields every frame upright, uint8 RGB [H, W, 3], resized to `size`; one frame in memory at a time.

    Raises:
      DecodeError: as `count_frames`, damage at the end of the iteration.
    """
    with _opened(path) as capture:
        count = 0
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            count += 1
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            yield frame if size is None else resize(frame, size)
        _check_count(path, capture, count, accept_damaged)


def read_frames(
    path: PathLike, indices: np.ndarray, *, size: Size | None = None, accept_damaged: bool = False
) -> np.ndarray:
    """Frames by number, upright, uint8 RGB of shape `indices.shape + (H, W, 3)`.

    Decodes in order and keeps only what is wanted, so memory depends on `indices` and not on the video's
    length.

    Args:
      path: video file.
      indices: int, any shape and order, repeats allowed; below `count_frames(path)`.
      size: height and width to resize to.
      accept_damaged: take what there is of a damaged video.

    Raises:
      DecodeError: as `count_frames`, or a wanted frame beyond the end.
    """
    indices = np.asarray(indices)
    wanted, inverse = np.unique(indices, return_inverse=True)
    if not len(wanted) or wanted[0] < 0:
        raise DecodeError(f"{path}: impossible frame numbers {indices}")
    with _opened(path) as capture:
        kept, count = _kept(capture, wanted, size, None)
        _check_count(path, capture, count, accept_damaged)
    if len(kept) < len(wanted):
        raise DecodeError(f"{path}: frame {wanted[len(kept)]} asked for, the video has {count}")
    return np.stack(kept)[inverse.reshape(indices.shape)]


def choose_and_read(
    path: PathLike, choose: Callable[[int], np.ndarray], *, size: Size | None = None, crop: Box | None = None
) -> tuple[np.ndarray, int, int]:
    """`read_frames` of what `choose` makes of the number of frames, cut to `crop` after resizing.

    Also that number, and the number that the container claims.

    One pass where the container counts its frames rightly, as most do. A count is never believed: where another number
    of frames decodes, the frames are chosen and read again.

    Raises:
      DecodeError: as `read_frames`.
      Whatever `choose` raises for the true number of frames.
    """
    with _opened(path) as capture:
        claimed = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        try:
            indices = np.asarray(choose(claimed))
        except AqaError:
            # The true number may be another.
            indices = np.zeros(0, np.int64)
        wanted, inverse = np.unique(indices, return_inverse=True)
        kept, count = _kept(capture, wanted, size, crop)
        _check_count(path, capture, count, False)
    if count != claimed or not kept:
        indices = np.asarray(choose(count))
        wanted, inverse = np.unique(indices, return_inverse=True)
        with _opened(path) as capture:
            kept, _ = _kept(capture, wanted, size, crop)
    if len(kept) < len(wanted):
        raise DecodeError(f"{path}: frame {wanted[len(kept)]} asked for, the video has {count}")
    return np.stack(kept)[inverse.reshape(indices.shape)], count, claimed


def _kept(
    capture: cv2.VideoCapture, wanted: np.ndarray, size: Size | None, crop: Box | None
) -> tuple[list[np.ndarray], int]:
    """The frames `wanted` (ascending numbers) as far as they come, and how many frames there are."""
    kept: list[np.ndarray] = []
    count = 0
    while capture.grab():
        if len(kept) < len(wanted) and count == wanted[len(kept)]:
            ok, frame = capture.retrieve()
            if not ok:
                break
            # The small frame's channels are swapped sooner than the large one's.
            frame = resize(frame, size or frame.shape[:2], crop)
            kept.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        count += 1
    return kept, count


def write_video(path: PathLike, frames: Iterable[np.ndarray], fps: float = 25.0) -> None:
    """Write uint8 RGB frames [H, W, 3], H and W even, to .mp4 (MPEG-4) or .avi (MJPEG).

    The file appears when it is whole.
    """
    path = Path(path)
    codecs = {".mp4": "mp4v", ".avi": "MJPG"}
    if path.suffix not in codecs:
        raise DecodeError(f"{path}: videos are written as {' or '.join(codecs)}")
    partial = path.with_name(f".partial-{path.name}")
    writer = None
    try:
        for frame in frames:
            if frame.shape[0] % 2 or frame.shape[1] % 2:
                raise DecodeError(f"{path}: video frames have even sides, got {frame.shape[:2]}")
            if writer is None:
                fourcc = cv2.VideoWriter.fourcc(*codecs[path.suffix])
                writer = cv2.VideoWriter(str(partial), cv2.CAP_FFMPEG, fourcc, fps, frame.shape[1::-1])
                if not writer.isOpened():
                    raise DecodeError(f"{path}: this OpenCV cannot write {codecs[path.suffix]} here")
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        if writer is None:
            raise DecodeError(f"{path}: no frames to write")
        writer.release()
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
