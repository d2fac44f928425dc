"""Videos of any length from one textured picture: cheap to render, ordinary to compress."""

import numpy as np

HEIGHT, WIDTH = 256, 455


def _picture() -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(0).normal(0, 6, (HEIGHT, WIDTH, 3))
    waves = np.stack([np.sin(rows / 9 + columns / 7), np.sin(rows / 13), np.cos(columns / 11)], -1)
    return np.clip(128 + 80 * waves + noise, 0, 255).astype(np.uint8)


def render(spec: tuple[str, int]) -> tuple:
    """(id, frames) -> that many frames, the picture rolling by, and the table row."""
    id_, num_frames = spec
    picture = _picture()
    row = {"id": id_, "group": id_, "score": 1.0, "difficulty": None, "judges": [], "eval_start": 0}
    return (np.roll(picture, 3 * number, 1) for number in range(num_frames)), row
