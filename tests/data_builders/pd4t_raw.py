"""Small raw data in PD4T's layouts. `python -m tests.data_builders.pd4t_raw FOLDER` writes dummy_data."""

import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from aqa_jax.data.decode import write_video

FOLDERS = {"gait": "Gait", "finger": "Finger tapping", "hand": "Hand movement", "leg": "Leg agility"}


class Video(NamedTuple):
    task: str
    split: str
    visit: str
    side: str
    patient: str
    frames: int
    score: int

    @property
    def name(self):
        return "_".join(part for part in (self.visit, self.side, self.patient) if part)

    @property
    def sample(self):
        return "_".join(part for part in (self.visit, self.side) if part)


# 002 and 003 are tested in one task and trained on in another; one visit has several tasks and both sides.
VIDEOS = (
    Video("gait", "train", "14-005197", "", "001", 14, 0),
    Video("gait", "train", "14-005690", "", "002", 9, 2),
    Video("gait", "test", "15-002976", "", "003", 12, 3),
    Video("finger", "train", "14-005197", "l", "001", 10, 1),
    Video("finger", "train", "14-005197", "r", "001", 11, 0),
    Video("finger", "train", "15-002976", "l", "003", 8, 4),
    Video("finger", "test", "14-005690", "r", "002", 13, 1),
    Video("hand", "train", "14-005197", "l", "001", 10, 1),
    Video("hand", "train", "14-005690", "r", "002", 8, 0),
    Video("hand", "test", "15-002976", "r", "003", 9, 2),
    Video("leg", "train", "14-005197", "l", "001", 10, 0),
    Video("leg", "train", "14-005690", "l", "002", 8, 1),
    Video("leg", "test", "15-002976", "r", "003", 9, 0),
)


def of_task(*tasks):
    return tuple(video for video in VIDEOS if video.task in tasks)


def frame(number):
    """Its number in black and white squares, twelve bits, which survive a lossy codec."""
    bits = np.array([number >> bit & 1 for bit in range(12)], np.uint8).reshape(3, 4)
    return np.kron(40 + 170 * bits, np.ones((8, 8), np.uint8))[..., None].repeat(3, 2)


def number_of(image):
    height, width = image.shape[:2]
    squares = image.reshape(3, height // 3, 4, width // 4, 3).mean((1, 3, 4)) > 125
    return int((squares.ravel() << np.arange(12)).sum())


def write_csvs(raw, videos=VIDEOS):
    for task in {video.task for video in videos}:
        for split in ("train", "test"):
            path = raw / "Annotations" / FOLDERS[task] / f"{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            own = [v for v in videos if (v.task, v.split) == (task, split)]
            path.write_text("".join(f"{v.name},{v.frames},{v.score}\n" for v in own))


def video_path(raw, video, layout):
    """`layout`: patient, side (visit only) or side-suffix (visit_side)."""
    folder = raw / "Videos" / FOLDERS[video.task]
    if layout == "patient" or not video.side:
        return folder / video.patient / f"{video.sample}.mp4"
    return folder / video.side / f"{video.visit if layout == 'side' else video.sample}.mp4"


def write_mp4s(raw, videos=VIDEOS, layout="patient"):
    for video in videos:
        path = video_path(raw, video, layout)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, (frame(number) for number in range(video.frames)))


def write_raw(raw, videos=VIDEOS, layout="patient"):
    write_csvs(raw, videos)
    write_mp4s(raw, videos, layout)


def write_frames(raw, videos=VIDEOS, first=1):
    """PECoP's layout: lists/<task>_<split>.txt, frames/<task>/<patient>/<sample>/img_%05d.jpg."""
    (raw / "lists").mkdir(parents=True, exist_ok=True)
    for video in videos:
        with open(raw / "lists" / f"{video.task}_{video.split}.txt", "a") as file:
            file.write(f"{video.sample} {video.score} {video.frames} {video.patient}\n")
        folder = raw / "frames" / video.task / video.patient / video.sample
        folder.mkdir(parents=True)
        for number in range(video.frames):
            path = folder / f"img_{number + first:05d}.jpg"
            cv2.imwrite(str(path), frame(number)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])


if __name__ == "__main__":
    dummy = Path(sys.argv[1])
    write_csvs(dummy)
    write_mp4s(dummy, of_task("gait", "leg"))
    write_mp4s(dummy, of_task("finger"), "side")
    write_mp4s(dummy, of_task("hand"), "side-suffix")
    write_frames(dummy)
