"""A folder of videos to try docs/your_own_data.md on: rendered dives as mp4 files, and a csv of what judges gave.

    python scripts/render_folder.py my_videos [--videos 60] [--unlabelled 40] [--seed 0]

Every diver has four videos; the unlabelled ones are of other divers. new_dive.mp4 beside the folder is of yet another.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aqa_jax.data.decode import write_video
from aqa_jax.errors import DataError
from aqa_jax.files import write_csv
from data_builders.synthetic_dives import world

FIRST_INDEX, FIRST_DIVER = 4_000_000, 30_000  # in no split of the synthetic dives
OF_A_DIVER = 4
SIDE = 128


def main() -> None:
    """Renders what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=60, help="with a score")
    parser.add_argument("--unlabelled", type=int, default=40, help="without one")
    parser.add_argument("--seed", type=int, default=0)
    try:
        render(**vars(parser.parse_args()))
    except DataError as error:
        sys.exit(f"error: {error}")


def render(folder: Path, videos: int, unlabelled: int, seed: int) -> None:
    """Renders `videos` labelled and `unlabelled` other dives of 36 to 80 frames into `folder`/videos, and labels.csv.

    Raises:
      DataError: there is a labels.csv already.
    """
    table = folder / "labels.csv"
    if table.exists():
        raise DataError(f"{table} is there already: name another folder")
    os.makedirs(folder / "videos", exist_ok=True)
    columns: dict[str, list] = {name: [] for name in ("file", "score", "subject", "difficulty", "judges")}
    rng = np.random.default_rng(seed)
    for k in range(videos + unlabelled):
        # The labelled divers' videos are all labelled.
        diver = k // OF_A_DIVER if k < videos else -(-videos // OF_A_DIVER) + (k - videos) // OF_A_DIVER
        dive = world.sample_dive(seed, FIRST_INDEX + k, FIRST_DIVER + diver)
        frames = world.render(dive, size=SIDE, num_frames=int(rng.integers(36, 81)))
        file = f"videos/dive_{k:03d}.mp4"
        write_video(folder / file, frames)
        marks = "|".join(f"{mark:g}" for mark in dive.judges)
        known = (round(dive.score, 2), f"diver_{diver:02d}", dive.difficulty, marks)
        for name, value in zip(columns, (file, *known), strict=True):
            columns[name].append(value if k < videos or name in ("file", "subject") else None)
    write_csv(table, columns)
    new = world.sample_dive(seed, FIRST_INDEX - 1, FIRST_DIVER - 1)
    write_video(folder.parent / "new_dive.mp4", world.render(new, size=SIDE, num_frames=60))


if __name__ == "__main__":
    main()
