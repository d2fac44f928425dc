"""What the reader of a page has and this repository has not: raw datasets, weight files, videos. Small ones."""

import pickle
from pathlib import Path

import cv2
import numpy as np

from aqa_jax import safe_pickle
from aqa_jax.data.decode import write_video
from tests import jigsaws_rendered
from tests.data_builders import pd4t_raw
from tests.docs.shrink import WIDTH
from tests.weights import fakes, torch_writer

ROOT = Path(__file__).parents[2]
FRAMES = 110


def mtl_aqa(folder: Path) -> None:
    """Twelve dives of the real annotations in MUSDL's layout, with noise for frames."""
    annotations = safe_pickle.load(ROOT / "tests/data/annotations/mtl_aqa/augmented_final_annotations_dict.pkl")
    # Of one difficulty, so that each has exemplars.
    of_event = {
        n: [key for key in annotations if key[0] == n and annotations[key]["difficulty"] == 3.3] for n in (1, 2, 3)
    }
    splits = {"train": of_event[1][:4] + of_event[3][:4], "test": of_event[2][:4]}
    (folder / "info").mkdir(parents=True)
    kept = {key: dict(annotations[key]) for split in splits.values() for key in split}
    (folder / "info" / "augmented_final_annotations_dict.pkl").write_bytes(pickle.dumps(kept, 2))
    rng = np.random.default_rng(0)
    for split, wanted in splits.items():
        (folder / "info" / f"{split}_split_0.pkl").write_bytes(pickle.dumps(wanted, 2))
        for video, dive in wanted:
            frames = folder / "frames" / f"{video:02d}_{dive:02d}"
            frames.mkdir(parents=True)
            for number in range(FRAMES):
                cv2.imwrite(str(frames / f"{number:03d}.jpg"), rng.integers(0, 256, (40, 72, 3), np.uint8))


def pd4t(folder: Path) -> None:
    """Every task with four patients to train on and one to test on."""
    videos = [
        pd4t_raw.Video(
            task, "test" if patient == 5 else "train", f"14-00{patient}00{visit}", "" if task == "gait" else "l",
            f"{patient:03d}", 140, (patient + visit) % 4,
        )
        for task in pd4t_raw.FOLDERS for patient in range(1, 6) for visit in (1, 2, 3)
    ]  # fmt: skip
    pd4t_raw.write_raw(folder, videos)


def jigsaws(folder: Path) -> None:
    """Every trial with its real marks, and pictures that show them."""
    jigsaws_rendered.write(folder, sorted(jigsaws_rendered.LABELS))


def video(path: Path) -> None:
    """A video of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8), fps=25)


def folder(path: Path) -> None:
    """A folder of videos and its table, of 20 subjects."""
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = ["id,score,difficulty,subject"]
    for number in range(20):
        write_video(path / f"video_{number:02d}.mp4", rng.integers(0, 256, (70, 36, 64, 3), np.uint8), fps=25)
        lines.append(f"video_{number:02d},{40 + number},{2 + number % 3},subject_{number // 2}")
    (path / "scores.csv").write_text("\n".join(lines) + "\n")


def weights(path: Path, dialect: str) -> None:
    """A file as the originals', of a network of the shrunk width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    style = "piergiaj" if dialect == "piergiaj" else "hassony2"
    torch_writer.write_zip(path, torch_writer.tensors(fakes.torch_state(style, WIDTH)))


RAW = {"mtl_aqa": mtl_aqa, "pd4t": pd4t, "jigsaws": jigsaws, "folder": folder}
