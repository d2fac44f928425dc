"""What a file looks like, from its first and last bytes, so that a wrong one gets a helpful message."""

import os
from pathlib import Path

from aqa_jax.errors import WeightsError

MAX_FILE_BYTES = 2**30
TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
_HEADS = [
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"RIFF", "an AVI video or WAV sound"),
    (b"MATLAB ", "a MATLAB file (.mat), which is not read; save what it holds as safetensors"),
    (b"\x89HDF", "an HDF5 file (Keras, MATLAB)"),
    (b"\x93NUMPY", "a numpy array file"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7-zip archive; unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"\x80\x02", "a bare pickle, not one of torch's files"),
    (b"\x80\x03", "a bare pickle, not one of torch's files"),
    (b"\x80\x04", "a bare pickle, not one of torch's files"),
    (b"version https://git-lfs", "a git-lfs pointer: the real file was never downloaded; run `git lfs pull`"),
]


def check_size(path: str | os.PathLike[str]) -> None:
    """Raises a WeightsError if the file is larger than any that is read: arrays take its size several times.

    Raises:
      OSError: there is no such file.
      WeightsError: it is too large.
    """
    if os.path.getsize(path) > MAX_FILE_BYTES:
        raise WeightsError(
            f"{os.fspath(path)}: larger than {MAX_FILE_BYTES} bytes, and no weight file of these networks is; save the "
            "weights alone, without the optimiser's state"
        )


def sniff(path: str | os.PathLike[str]) -> str:
    """Return 'zip', 'torch legacy', 'safetensors', 'tensorflow index', or 'looks like ...' for anything else.

    Raises:
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(512)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 512))
        tail = file.read()
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(TORCH_LEGACY):
        return "torch legacy"
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 2**32:
        return "safetensors"
    if tail.endswith(TABLE_MAGIC):
        return "tensorflow index"
    return "looks like " + _describe(head, tail, Path(path).suffix.lower())


def _describe(head: bytes, tail: bytes, suffix: str) -> str:
    if not head:
        return "an empty file"
    for magic, name in _HEADS:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        return "an MP4 or QuickTime video"
    if head[257:262] == b"ustar":
        return "a tar archive (torch 0.1 or an archive of files); unpack it, or save it again with a newer torch"
    try:
        # A character may be cut at the end.
        text = head.decode("utf-8", errors="strict" if len(head) < 512 else "ignore")
    except UnicodeDecodeError:
        return "unknown binary data"
    if any(ord(c) < 9 for c in text):
        return "unknown binary data"
    start = text.lstrip().lower()
    if start.startswith(("<!doctype", "<html", "<?xml")):
        return "a web page: the download link needs a browser or a confirmation"
    if start.startswith(("{", "[")):
        return "JSON text"
    return "a CSV table" if suffix == ".csv" else "text"
