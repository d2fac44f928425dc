"""Mutated JPEG frames: does anyone ever see a pixel of another image, or of another video?

In a built dataset (half of the cases) bytes of its files are changed, records and whole files exchanged: reading gives
the very frames that were stored, or a typed error. Among raw frames (the other half) an image's bytes are changed: it
is refused, or what is decoded depends on its own bytes alone, whatever was decoded before it; what decodes to other
pixels without a word from the decoder is counted. Each is read again beside a SHA256SUMS of what it was before, where
nothing may be decoded that was changed. Every tenth goes through builds, without and with these checksums.
"""

import contextlib
import hashlib
import io
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common
import numpy as np

from aqa_jax.data import build
from aqa_jax.data.checksums import NAME, Checksums
from aqa_jax.data.decode import decode_jpeg, read_image
from aqa_jax.data.encode import JPEG_DAMAGE, encode_jpeg, listening
from aqa_jax.data.video_store import RecordWriter, VideoStore
from aqa_jax.errors import AqaError, ChecksumError, DecodeError

TOY = str(common.REPO / "tests" / "data" / "toy_videos")
Rng = np.random.Generator
UNNOTICED = "own pixels, other than before, without a word"
OK = ("refused", "as it was", "told by the decoder", UNNOTICED)

OK_RECORDED = ("changed, refused", "as recorded, read")
UNNOTICED_RECORDED = ("CHANGED, BUT READ", "CHANGED, BUT BUILT")


def mutated(data: bytes, rng: Rng) -> bytes:
    """Bytes flipped, overwritten, taken out, put in, cut; whole otherwise."""
    out = bytearray(data)
    at = int(rng.integers(len(out)))
    length = int(rng.integers(1, 200))
    kind = int(rng.integers(8))
    if kind == 0:
        out[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        for place in rng.integers(0, len(out), 20):
            out[place] = int(rng.integers(256))
    elif kind == 2:
        out[at : at + length] = rng.integers(0, 256, len(out[at : at + length]), np.uint8).tobytes()
    elif kind == 3:
        out[at : at + length] = bytes(len(out[at : at + length]))
    elif kind == 4:
        del out[at : at + length]
    elif kind == 5:
        out[at:at] = rng.integers(0, 256, length, np.uint8).tobytes()
    elif kind == 6:
        del out[at:]
    else:  # Half an image with the end of a whole one.
        del out[at:]
        out += b"\xff\xd9"
    return bytes(out)


class Stored:
    """A small dataset, its true frames, and another build of the same size."""

    def __init__(self, folder: Path):
        """Builds both into `folder`."""
        self.whole = build.build(TOY, data_dir=folder, options={"videos": 4}, workers=0)
        self.store = VideoStore.open(self.whole)
        self.truth = [self.store.read(row, np.arange(40)) for row in range(len(self.store.table))]
        self.copy = folder / "copy"

    def case(self, rng: Rng) -> str:
        """What came of one mutation."""
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.whole, self.copy)
        self._mutate(rng)
        result = "as it was"
        try:
            store = VideoStore.open(self.copy)
        except AqaError:
            return "refused"
        except Exception as error:
            return f"opening: {type(error).__name__}: {error}"
        for row, truth in enumerate(self.truth):
            try:
                if not np.array_equal(store.read(row, np.arange(40)), truth):
                    return "OTHER PIXELS"
            except AqaError:
                result = "refused"
            except Exception as error:
                return f"reading: {type(error).__name__}: {error}"
        return result

    def _mutate(self, rng: Rng) -> None:
        shards = sorted(self.copy.glob("*.array_record-*"))
        shard = shards[int(rng.integers(len(shards)))]
        kind = int(rng.integers(6))
        if kind < 3:  # Somewhere in a JPEG, with the file's size as it was.
            data = bytearray(shard.read_bytes())
            used = len(data.rstrip(b"\0"))
            at, length = int(rng.integers(used)), int(rng.integers(1, 300)) if kind else 1
            end = min(at + length, len(data))
            data[at:end] = bytes(b ^ int(rng.integers(1, 256)) for b in data[at:end])
            shard.write_bytes(data)
        elif kind == 3:
            shard.write_bytes(mutated(shard.read_bytes(), rng))
        elif kind == 4:  # Records of two videos change places; the file's own checksums are right.
            split = "train" if "train" in shard.name else "test"
            records = self.store._records(split, range(self.store.metadata["shards"][split][0]["records"]))
            a, b = rng.choice(len(records), 2, replace=False)
            records[a], records[b] = records[b], records[a]
            writer = RecordWriter(self.copy, "toy_videos", split)
            for record in records:
                writer.write(record)
            writer.close()
        else:
            path = self.copy / "metadata.json"
            path.write_bytes(mutated(path.read_bytes(), rng))


class Raw:
    """Images of noise around a colour each."""

    def __init__(self, folder: Path):
        """Three images, and raw data of three videos in PD4T's layout of folders."""
        rng = np.random.default_rng(7)
        colours = ((200, 30, 30), (20, 40, 210), (30, 190, 60))
        self.images = [
            np.clip(np.array(colour) + rng.integers(-25, 25, (48, 64, 3)), 0, 255).astype(np.uint8)
            for colour in colours
        ]
        self.jpegs = [encode_jpeg(image, 90) for image in self.images]
        self.folder, self.said = folder, str(folder / "said")
        for number, split in enumerate(("train", "train", "test")):
            patient, visit = f"{number + 1:03d}", f"14-00519{number}"
            images = folder / "raw" / "frames" / "gait" / patient / visit
            images.mkdir(parents=True)
            for k in range(10):
                (images / f"img_{k + 1:05d}.jpg").write_bytes(self.jpegs[number])
            path = folder / "raw" / "lists" / f"gait_{split}.txt"
            path.parent.mkdir(exist_ok=True)
            with path.open("a") as file:
                file.write(f"{visit} 1 10 {patient}\n")
        self.victim = folder / "raw" / "frames" / "gait" / "001" / "14-005190" / "img_00004.jpg"

    def case(self, rng: Rng, through_build: bool) -> str:
        """What came of one mutated image."""
        data = mutated(self.jpegs[0], rng)
        results: list[np.ndarray | None] = []
        with listening(self.said) as said, contextlib.redirect_stderr(io.StringIO()):
            for other in self.jpegs:  # What was decoded before must not matter.
                decode_jpeg(other, "another")
                try:
                    results.append(decode_jpeg(data, "this"))
                except DecodeError:
                    results.append(None)
            text = said()
            told = any(sign in text for sign in JPEG_DAMAGE)
        if len({None if one is None else (one.shape, one.tobytes()) for one in results}) > 1:
            return "DEPENDS ON ANOTHER IMAGE"
        image = results[0]
        if image is None:
            result = "refused"
        elif told:
            result = "told by the decoder"
        elif np.array_equal(image, decode_jpeg(self.jpegs[0], "as it was")):
            result = "as it was"
        else:
            result = UNNOTICED
        return self._built(data, result) if through_build else result

    def with_checksum(self, rng: Rng, through_build: bool) -> str:
        """What came of the same image beside a SHA256SUMS of what it was."""
        data = mutated(self.jpegs[0], rng)
        changed = data != self.jpegs[0]
        recorded = self.folder / "raw" / NAME
        recorded.write_text(
            f"{hashlib.sha256(self.jpegs[0]).hexdigest()}  {self.victim.relative_to(recorded.parent)}\n"
        )
        self.victim.write_bytes(data)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                read_image(self.victim, Checksums(recorded.parent).of(self.victim))
                result = "CHANGED, BUT READ" if changed else "as recorded, read"
        except ChecksumError:
            result = "changed, refused" if changed else "AS RECORDED, BUT REFUSED"
        except AqaError as error:
            result = f"refused for another reason: {error}"
        if through_build:
            try:
                self._build()
                result = "CHANGED, BUT BUILT" if changed else result
            except ChecksumError:
                result = result if changed else "AS RECORDED, BUT NOT BUILT"
            except Exception as error:
                result = f"building: {type(error).__name__}: {error}"
        recorded.unlink()
        return result

    def _build(self) -> Path:
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        with contextlib.redirect_stderr(io.StringIO()):
            return build.build(
                "pd4t", data_dir=self.folder / "data", raw_dir=self.folder / "raw", workers=0,
                options={"layout": "frames", "check_counts": False, "height": 48, "width": 64, "jpeg_quality": 100},
            )  # fmt: skip

    def _built(self, data: bytes, result: str) -> str:
        self.victim.write_bytes(data)
        try:
            directory = self._build()
        except DecodeError:
            return result if result in ("refused", "told by the decoder") else "BUILD REFUSED A WHOLE IMAGE"
        except Exception as error:
            return f"building: {type(error).__name__}: {error}"
        if result in ("refused", "told by the decoder"):
            return "BUILT FROM A DAMAGED IMAGE"
        store = VideoStore.open(directory)
        for row in range(3):
            frames = store.read(row, np.arange(10)).astype(int)
            others = np.delete(frames, 3, 0) if row == 0 else frames
            if np.abs(others - self.images[row]).mean() > 12:
                return "BUILT WITH OTHER PIXELS"
        return result


def main(argv: list[str] | None = None) -> int:
    """The row."""
    args = common.options(__doc__, 2000).parse_args(argv)
    counts: Counter[str] = Counter()
    recorded: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with contextlib.redirect_stderr(io.StringIO()):
            stored, raw = Stored(folder / "stored"), Raw(folder / "raw")
        for number in range(args.n):
            rng = np.random.default_rng((args.seed, number))
            where = "raw" if number % 2 else "stored"
            result = raw.case(rng, number % 20 == 1) if number % 2 else stored.case(rng)
            counts[f"{where}: {result if result in OK else 'FAILED'}"] += 1
            if result not in OK:
                failures.append(f"{number}: {where}: {result:.300}")
            if number % 2:
                result = raw.with_checksum(np.random.default_rng((args.seed, number)), number % 20 == 1)
                recorded[result if result in (*OK_RECORDED, *UNNOTICED_RECORDED) else "FAILED"] += 1
                if result not in OK_RECORDED:
                    failures.append(f"{number}: beside a SHA256SUMS: {result:.300}")
    for text in failures[:20]:
        print(text)
    both = {
        "unnoticed_by_contents": counts[f"raw: {UNNOTICED}"],
        "unnoticed_with_checksum": sum(recorded[one] for one in UNNOTICED_RECORDED),
    }
    return common.finish(
        "jpegs", n=args.n, passed=not failures, counts=dict(sorted(counts.items())) | both, output=args.output,
        with_checksum=dict(recorded), seed=args.seed, failures=failures[:50],
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
