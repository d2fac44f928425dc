"""Small videos whose frames tell their video and number by colour."""

import os
import time

import numpy as np

HEIGHT, WIDTH = 24, 32


def frame(video: int, number: int) -> np.ndarray:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2] = (10 * (video % 20), 4 * number, 120)
    image[:, WIDTH // 2 :] = (200, 4 * number, 10 * (video % 20))
    return image


def num_frames(video: int) -> int:
    return 40 + video % 5


def render(spec):
    split, video, fault = spec
    id_ = f"{split}-{video}"
    score = float(video)
    if video == 3:
        score = float("nan") if fault == "nan" else score
        id_ = {"twice": f"{split}-2", "across": "shared"}.get(fault, id_)
        if fault == "crash":
            raise RuntimeError("renderer broke")
        if fault == "kill":
            os.kill(os.getpid(), 9)
        if fault == "slow":
            print("slow video reached", flush=True)
            time.sleep(600)
    row = {
        "id": id_,
        "group": f"g{video % 4}",
        "score": score,
        "difficulty": 2.0 + video / 10 if video % 2 else None,
        "judges": [1.0, 2.0, 3.0][: 1 + video % 3],
        "eval_start": 1,
        "name": f"video {video}",
    }
    size = {"size": (8, 8, 3)}.get(fault)
    frames = (frame(video, i) if size is None else np.zeros(size, np.uint8) for i in range(num_frames(video)))
    return frames, row
