"""The study's own arithmetic: which segment holds a fault, and how often an answer points to it."""

import numpy as np
import pytest

from aqa_jax.explain.explanation import Explanation
from aqa_jax.predict.video_clips import VideoClips
from scripts import why_study

FRAMES = np.arange(2, 14).reshape(3, 4)
FAULTS = ((2, 5), (6, 9), (8, 11), (10, 13))  # of the third, either half of two segments


@pytest.fixture
def study(monkeypatch):
    """Four dives whose explanations are right, but for Grad-CAM in the first; untrained, everything points to 0."""
    video = np.zeros((3, 4, 2, 2, 3), np.uint8)
    video[2, ::2] = 200  # the last segment moves
    dives = [
        why_study.Dive(f"dive_{k}", VideoClips(video, 16, 1.0), 2.0, 50.0, ("wobble", "legs_apart")[k % 2], *fault)
        for k, fault in enumerate(FAULTS)
    ]

    def explain(scorer, clips, difficulty):
        k = next(at)
        right = why_study.containing(FRAMES, *FAULTS[k]) if scorer == "trained" else np.array([True, False, False])
        warm = np.roll(right, 1) if k == 0 and scorer == "trained" else right
        cam = np.broadcast_to(warm.astype(np.float32)[:, None, None, None], (3, 4, 2, 2))
        return Explanation(40.0, 50.0, -1.0 * right, -2.0 * right, -3.0 * right, cam, FRAMES)

    at = iter(np.repeat(range(4), 2))
    monkeypatch.setattr(why_study, "dives", lambda scorer, split: dives)
    monkeypatch.setattr(why_study, "randomised", lambda scorer: "untrained")
    monkeypatch.setattr(why_study, "explain", explain)
    return why_study.measure("trained", "test")


def test_segments_hold_a_fault_from_half_of_it_on():
    holds = [why_study.containing(FRAMES, *fault).tolist() for fault in FAULTS]
    assert holds == [[True, False, False], [False, True, False], [False, True, True], [False, False, True]]
    assert why_study.containing(FRAMES, 4, 8).tolist() == [False, True, False]


def test_hits_are_counted_beside_chance_and_controls(study):
    found = study["found"]
    assert found["occlusion"]["hits"] == found["contribution"]["hits"] == found["segment_score"]["hits"] == 4
    assert found["cam"]["hits"] == 3
    assert found["random_occlusion"]["hits"] == found["random_cam"]["hits"] == 1
    assert found["most_motion"]["hits"] == 2 and found["least_motion"]["hits"] == 1
    assert study["chance"] == pytest.approx(5 / 12)
    assert study["by_kind"]["wobble"]["cam"] == why_study.share(np.array([False, True]))
    low, high = found["cam"]["interval_95"]
    assert low < 0.75 < high < 1
    table = why_study.table(study)
    assert "| Grad-CAM | 75.0 % [" in table and table.strip().endswith("| chance | 41.7 % |")
    assert abs(study["correlation_with_random_weights"]["occlusion"]) < 1
