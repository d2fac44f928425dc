"""Explanations of untrained models: what each answer means, for every head. What a trained one finds: why_study."""

import numpy as np
import pytest
from flax import nnx

from aqa_jax import config as config_lib
from aqa_jax.config_keys import HEAD_NAMES
from aqa_jax.evaluate.selection import Selection
from aqa_jax.explain.explain import explain
from aqa_jax.models.heads import head_maker
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.trained import Trained
from aqa_jax.predict.trust import Trust
from aqa_jax.predict.video_clips import VideoClips
from aqa_jax.train.run import TRAINED_ON, Run
from tests.tiny import tiny_config

SEGMENTS, DIFFICULTY = 3, 2.0
CLIPS = {"data.window": 18, "data.clip_length": 6, "data.clip_starts": (0, 6, 12), "data.crop": 32}
HEADS = {"musdl": {"head.bins": 21, "head.lowest": 0.0, "head.highest": 10.0}}


def scorer_of(head="dae_mt", seed=0):
    """An untrained run, its head made of labels as a training would."""
    values = tiny_config("nowhere", **CLIPS, **{"head.name": head, "seed": seed}, **HEADS.get(head, {}))
    run = Run(config := config_lib.resolve(values))
    rng = np.random.default_rng(0)
    quality = rng.normal(6, 1.2, (24, 1))
    judges = np.clip(np.round(2 * (quality + rng.normal(0, 0.5, (24, 7)))) / 2, 0, 10).astype(np.float32)
    difficulty = np.repeat([DIFFICULTY, 3.0], 12)
    score = np.sort(judges)[:, 2:5].sum(-1) * difficulty
    labels = {"score": score, "difficulty": difficulty, "judges": judges, "exemplar_key": difficulty}
    labels |= {"row": np.arange(24)}
    state = run.assembler.init()
    features = run.assembler.merge(state).i3d.feature_size
    made = head_maker(head)(features, config.head, labels, nnx.Rngs(seed))
    groups = nnx.split(made, *run.assembler._filters)[1:]
    for name, group in zip(("trainable", "frozen", "stats", "constants"), groups, strict=True):
        state[name] |= {"head": nnx.to_pure_dict(group)} if group else {}
    if "exemplars" in state["constants"].get("head", {}):
        bank = state["constants"]["head"]["exemplars"]
        bank["features"] = np.abs(rng.standard_normal(bank["features"].shape)).astype(np.float32)
    about = {"schema": TRAINED_ON, "frame_size": [32, 32], "score_range": [10.0, 60.0], "builder": "none"}
    trained = Trained(
        "", {**about, "fingerprint": "", "videos": {}}, Selection("last", 0), {"step": 0, **state}, Trust()
    )
    return RunScorer(config, trained)


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    # Segments that differ: moving squares on grounds of their own.
    video = rng.integers(0, 256, (SEGMENTS, 1, 1, 1, 3)) * np.ones((SEGMENTS, 6, 32, 32, 3))
    for s, t in np.ndindex(SEGMENTS, 6):
        video[s, t, 4 + s : 14 + s, 2 * t : 2 * t + 10] = rng.integers(0, 256, 3)
    return VideoClips(video.astype(np.uint8), 18, 1.0)


@pytest.mark.parametrize("head", HEAD_NAMES)
def test_every_head_can_be_explained(head, clips):
    scorer = scorer_of(head)
    difficulty = DIFFICULTY if scorer.needs_difficulty else None
    found = explain(scorer, clips, difficulty, cam=False)
    told = scorer.score(clips.video[None], None if difficulty is None else np.array([difficulty], np.float32))
    assert found.score == pytest.approx(float(told.mean[0]), rel=1e-5)
    assert found.baseline == 35
    assert found.contributions.sum() == pytest.approx(found.score - 35, rel=1e-6)
    assert np.ptp(found.segment_scores) > 0 and np.ptp(found.occlusion) > 0
