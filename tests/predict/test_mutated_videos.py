"""Damaged and forged videos: each is an error or a score of its own; `scripts/reliability/videos.py` tries 2,000."""

import numpy as np

from aqa_jax.data import decode
from aqa_jax.predict.inputs import find_videos
from aqa_jax.predict.predict import predict
from scripts.reliability.mutations import HARMLESS, MUTATIONS
from tests.predict.test_predict import FORM, BrightnessScorer


def frames(count):
    scene = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    for i in range(count):
        yield np.roll(scene, 3 * i, 1)


def test_every_file_has_one_row(tmp_path):
    bases = [tmp_path / name for name in ("base.mp4", "base.avi", "other.mp4")]
    for base in bases:
        decode.write_video(base, frames(20))
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, some in enumerate((bases[:2], bases[2:])):
        rng = np.random.default_rng(seed)
        for name, mutate in MUTATIONS.items():
            for base in some:
                (folder / f"{name}_{base.name}").write_bytes(mutate(base.read_bytes(), rng))
    report = predict(
        find_videos(folder),
        BrightnessScorer(),
        tmp_path / "out",
        form=FORM,
        batch_size=4,
        decode_seconds=30,
        progress=False,
    )
    rows = {row["file"]: row for row in report.rows}
    assert len(rows) == len(report.rows) and len(rows) + len(report.errors) == len(bases) * len(MUTATIONS)
    assert not set(rows) & set(report.errors)
    for name in HARMLESS:
        for base in bases:
            row = rows[str(folder / f"{name}_{base.name}")]
            assert row["frames"] == 20 and row["damage"] is None
    for name in ("cut", "noise", "other_header"):
        assert str(folder / f"{name}_base.mp4") in report.errors
