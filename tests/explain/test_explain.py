"""What each answer means, for every head; that the maps follow the weights; and that a planted fault is found."""

import dataclasses
import importlib
import json

import jax
import numpy as np
import pytest
from scipy import stats

from aqa_jax import config as config_lib
from aqa_jax.data.build import builder_class
from aqa_jax.errors import ConfigError
from aqa_jax.evaluate.selection import Selection
from aqa_jax.explain.explain import explain, overlay
from aqa_jax.explain.explanation import Explanation, averaged
from aqa_jax.explain.grad_cam import layer_of, lowering, weighed_maps
from aqa_jax.explain.occlusion import filled
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.trained import Trained
from aqa_jax.predict.trust import Trust
from aqa_jax.predict.video_clips import VideoClips
from aqa_jax.train.finished import TRAINED_ON
from aqa_jax.train.run import Run
from aqa_jax.train.state import Assembler
from tests.tiny import tiny_config

builder_class("synthetic_dives")  # puts data_builders/ on the path
planted = importlib.import_module("synthetic_dives.planted")
world = importlib.import_module("synthetic_dives.world")

SEGMENTS, LENGTH, DIFFICULTY = 6, 8, 2.0
# A crop of its own: other tests count what is compiled.
CLIPS = {
    "data.window": 48, "data.clip_length": LENGTH, "data.clip_starts": tuple(range(0, 48, 8)), "data.max_shift": 4,
    "data.crop": 24,
}  # fmt: skip
FITTED = 110  # dives
FEATURES = 24  # of the backbone of these tests


def scorer_of(head="regression", seed=0, change=lambda state: None, **changes):
    """An untrained run, its head made of labels as a training would, its arrays changed by ``change``."""
    values = tiny_config("nowhere", **CLIPS, **{"head.name": head, "seed": seed}, **changes)
    run = Run(config_lib.resolve(values))
    rng = np.random.default_rng(0)
    quality = rng.normal(6, 1.2, (24, 1))
    judges = np.clip(np.round(2 * (quality + rng.normal(0, 0.5, (24, 7)))) / 2, 0, 10).astype(np.float32)
    difficulty = np.repeat([DIFFICULTY, 3.0], 12)
    score = np.sort(judges)[:, 2:5].sum(-1) * difficulty
    labels = {"score": score, "difficulty": difficulty, "judges": judges, "exemplar_key": difficulty}
    labels |= {"row": np.arange(24)}
    state = {"step": np.int32(0), **Assembler(lambda: run.make_model(labels), run.assembler.trainable).init()}
    if bank := state["constants"].get("head", {}).get("exemplars"):
        bank["features"] = np.abs(rng.standard_normal(bank["features"].shape)).astype(np.float32)
    change(state)
    about = {"schema": TRAINED_ON, "frame_size": [32, 32], "score_range": [10.0, 60.0], "builder": "none"}
    about |= {"fingerprint": "", "videos": {}}
    return RunScorer(run.config, Trained("", about, Selection("last", 0), state, Trust()))


@pytest.fixture(scope="module")
def scorer():
    return scorer_of()


def sampled(index):
    return world.sample_dive(0, index, index, planted=1.0, num_frames=planted.FRAMES)


def dive(index):
    """Clips of a dive with a planted fault, and how many of its frames each holds."""
    truth = sampled(index)
    frames = np.stack(list(world.render(truth, num_frames=planted.FRAMES)))
    video = frames[2:50, 4:28, 4:28].reshape(SEGMENTS, LENGTH, 24, 24, 3)
    fault = truth.planted
    inside = (np.arange(2, 50) >= fault.first) & (np.arange(2, 50) < fault.first + planted.LENGTH)
    return VideoClips(video, planted.FRAMES, 1.0), inside.reshape(SEGMENTS, LENGTH).sum(1)


@pytest.fixture(scope="module")
def clips():
    return dive(0)[0]


# One of each kind: a number, probabilities of scores, a judge's marks, a factor, exemplars.
@pytest.mark.parametrize("head", ["regression", "usdl", "dae_judges", "dae_mt", "core"])
def test_heads(head, clips, monkeypatch):
    scorer = scorer_of(head)
    rng = np.random.default_rng(1)
    # The heads alone: the backbone is the same.
    features = np.abs(rng.standard_normal((1, SEGMENTS, FEATURES)))
    features, early = features.astype(np.float32), np.zeros((1, SEGMENTS, 5), np.float32)
    monkeypatch.setattr(scorer.program, "features", lambda video: (features, early))
    difficulty = DIFFICULTY if scorer.needs_difficulty else None
    found = explain(scorer, clips, difficulty, cam=False, fill="neighbours")

    def score(features):
        batch = scorer.batch(64, None if difficulty is None else np.full(64, difficulty, np.float32))
        told, *_ = scorer.program.tell(np.repeat(features[None], 64, 0), np.repeat(early, 64, 0)[:, :1], batch)
        return float(told.mean[0])

    assert found.score == pytest.approx(score(features[0].mean(0, keepdims=True)), rel=1e-5)
    assert found.baseline == 35
    assert found.contributions.sum() == pytest.approx(found.score - 35, abs=1e-3)
    assert found.segment_scores[1] == pytest.approx(score(features[0, 1:2]), rel=1e-5)
    without = (features[0].sum(0) - features[0, 1] + features[0, [0, 2]].mean(0)) / SEGMENTS
    assert found.occlusion[1] == pytest.approx(found.score - score(without[None]), abs=1e-3)
    assert found.cam is None and found.cam_of_segments is None
    assert np.ptp(found.segment_scores) > 0


def test_a_mixture_of_models_is_explained_by_the_mean():
    parts = [explanation(seed) for seed in range(3)]
    found = averaged(parts)
    np.testing.assert_allclose(found.occlusion, np.mean([part.occlusion for part in parts], 0))
    assert found.contributions.sum() == pytest.approx(found.score - found.baseline)
    assert found.cam.max() == 1 and found.cam.min() >= 0
    assert averaged(parts[:1]) is parts[0]
    assert found.to_dict()["worst_segment"] == np.argmin(found.occlusion) != found.to_dict()["best_segment"]
    json.dumps(found.to_dict())
    # An effect that is small beside the score's own uncertainty is no fault.
    lowest = -found.occlusion.min()
    assert found.pointed_at(49 * lowest)[1] == found.worst and found.pointed_at(51 * lowest)[1] is None
    assert found.to_dict(51 * lowest)["worst_segment"] is None


def explanation(seed):
    rng = np.random.default_rng(seed)
    contributions = rng.normal(size=4)
    cam = rng.uniform(size=(4, 2, 3, 3)).astype(np.float32)
    cam /= cam.max()
    frames = np.arange(8).reshape(4, 2)
    return Explanation(5 + contributions.sum(), 5.0, rng.normal(size=4), contributions, rng.normal(size=4), cam, frames)


def test_what_a_segment_is_replaced_with():
    video = np.zeros((3, 2, 1, 1, 3), np.uint8)
    video[:, :, 0, 0, 0] = [[10, 20], [90, 90], [50, 60]]
    frames = np.arange(6).reshape(3, 2)
    red = filled(video, frames, "blend")[..., 0, 0, 0]
    # From 20 at frame 1 to 50 at frame 4; at the ends the nearest frame stands.
    np.testing.assert_array_equal(red, [[90, 90], [30, 40], [90, 90]])
    red = filled(video, frames, "mean")[..., 0, 0, 0]
    np.testing.assert_array_equal(red, [[72, 72], [35, 35], [52, 52]])
    # Of overlapping segments only frames outside the replaced one are looked at.
    overlapping = np.array([[0, 1], [1, 2], [2, 3]])
    video[:, :, 0, 0, 0] = [[10, 99], [99, 99], [99, 40]]
    np.testing.assert_array_equal(filled(video, overlapping, "blend")[1, :, 0, 0, 0], [20, 30])


def test_the_map_is_of_what_lowers_the_score():
    activations = np.ones((2, 2, 3, 3, 2), np.float32)
    activations[1, 1, 0, 2, 0] = 5  # a channel that lowers the score, in one place
    activations[0, 0, 2, 0, 1] = 9  # one that raises it
    weights = np.array([-1.0, 1.0], np.float32)
    parts = [((one * weights).sum(-1), weights, one.mean((0, 1, 2))) for one in activations]
    found = lowering(parts, 4)
    assert found.shape == (2, 4, 3, 3) and found.dtype == np.float32
    assert np.unravel_index(found.argmax(), found.shape) == (1, 3, 0, 2) and found.max() == 1
    assert not found[0, 0, 2, 0]
    # Frames between two positions in time get something of both.
    np.testing.assert_allclose(found[1, :, 0, 2], [0.0, 0.25, 0.75, 1.0], atol=0.1)
    flat = [((one * 0).sum(-1), weights * 0, one.mean((0, 1, 2))) for one in activations]
    assert not lowering(flat, 4).any()


def test_the_layer_suits_the_frames():
    assert [layer_of(side) for side in (224, 64, 32, 16)] == ["Mixed_5c", "Mixed_5c", "Mixed_4f", "Mixed_3c"]
    # Of a backbone that ends earlier.
    assert [layer_of(side, "Mixed_4b") for side in (224, 16)] == ["Mixed_4b", "Mixed_3c"]
    assert layer_of(16, "Mixed_3b") == "Mixed_3b"


def test_the_overlay_is_warm_where_the_score_is_lowered(clips):
    found = explanation(0)
    cam = np.zeros((SEGMENTS, LENGTH, 3, 3), np.float32)
    cam[2, 3, 2, 2] = 1
    large = np.full((SEGMENTS, LENGTH, 60, 60, 3), 100, np.uint8)
    clips = dataclasses.replace(clips, video=large)
    drawn = overlay(clips, dataclasses.replace(found, cam=cam))
    assert drawn.shape == large.shape and drawn.dtype == np.uint8
    changed = (drawn != large).any(-1)
    # The number is in the left upper corner of every frame; the map in one.
    assert changed[..., :30, :30].any((2, 3)).all()
    where = np.argwhere(changed[..., 30:, :].any((2, 3)))
    np.testing.assert_array_equal(where, [[2, 3]])
    assert (overlay(clips, dataclasses.replace(found, cam=None))[..., 30:, :, :] == 100).all()
    assert (clips.video == 100).all()


def test_what_cannot_be_done_is_said(scorer, clips):
    with pytest.raises(ConfigError, match="no layer 'Mixed_5c'"):
        explain(scorer, clips, layer="Mixed_5c")
    with pytest.raises(ConfigError, match="no fill 'black'"):
        explain(scorer, clips, fill="black")
    with pytest.raises(ConfigError, match="difficulty"):
        explain(scorer_of("dae_mt"), clips)


@pytest.fixture(scope="module")
def found(scorer, clips):
    return explain(scorer, clips)


def test_occlusion_is_what_the_scorer_says_of_the_changed_video(scorer, clips):
    found = explain(scorer, clips, fill="mean", cam=False)
    changed = clips.video.copy()
    changed[2] = filled(clips.video, found.frames, "mean")[2]
    before, after = (float(scorer.score(video[None]).mean[0]) for video in (clips.video, changed))
    assert found.score == pytest.approx(before, rel=1e-5)
    assert found.occlusion[2] == pytest.approx(before - after, abs=1e-4)
    np.testing.assert_array_equal(found.frames, np.arange(2, 50).reshape(SEGMENTS, LENGTH))


def test_channels_weigh_what_the_gradient_says(scorer, clips):
    # The last layer is averaged, so each of its channels has the gradient of its feature, spread over all places.
    slope = np.linspace(-1, 1, FEATURES, dtype=np.float32)
    program = scorer.program
    weighed, weights, mean = weighed_maps(program.graph, program.state, clips.video[0], slope, "Mixed_3c")
    np.testing.assert_allclose(weights * weighed.size, slope, rtol=1e-4)
    assert float(weighed.sum()) == pytest.approx(float(mean @ slope), rel=1e-4)


def test_the_layers_after_a_layer_go_on_from_its_activations(scorer):
    i3d = scorer.run.assembler.merge(scorer._state).i3d
    x = np.random.default_rng(0).uniform(size=(1, 2, 2, 2, 13)).astype(np.float32)
    (found,) = jax.jit(lambda x: [maps for _, maps in i3d.endpoints(x, after="Mixed_3b")])(x)
    np.testing.assert_array_equal(found, jax.jit(lambda x: i3d.Mixed_3c(x, "frozen"))(x))


def test_the_maps_follow_the_weights(found, clips):
    """Adebayo et al. 2018 ("Sanity checks for saliency maps"): a map that other weights leave alone shows the video."""
    other = explain(scorer_of(seed=1), clips)
    for name in ("occlusion", "contributions", "cam_of_segments"):
        assert abs(stats.spearmanr(getattr(found, name), getattr(other, name)).statistic) < 0.95, name


def test_the_planted_fault_is_found(scorer):
    """A random backbone, and a head fitted to see one fault: what moves its score is that fault.

    The head is linear in the features, so what it makes of a segment is decided by differences within a video: it is
    fitted to these (ridge regression of the fault's share of each segment).
    """
    numbers = [index for index in range(700) if sampled(index).planted.kind == "arms_out"][:150]
    dives = [dive(index) for index in numbers]
    holds = np.stack([inside for _, inside in dives]) / LENGTH
    features, _ = scorer.program.features(np.stack([clips.video for clips, _ in dives]))
    spread = features[:FITTED].std((0, 1)) + 1e-6
    within = ((features - features.mean(1, keepdims=True)) / spread)[:FITTED].reshape(-1, FEATURES)
    target = (holds.mean(1, keepdims=True) - holds)[:FITTED].reshape(-1)
    weights = np.linalg.solve(within.T @ within + 30 * np.eye(FEATURES), within.T @ target) / spread

    def linear(state):
        # As a network of one unit a layer, far enough from the ReLUs' corner.
        layers = {"first": (weights[:, None], 20), "second": ([[1]], 0), "mean": ([[10]], -200)}
        for name, (kernel, bias) in layers.items():
            values = {"kernel": np.array(kernel, np.float32), "bias": np.full(1, bias, np.float32)}
            state["trainable"]["head"][name] = values

    fitted = scorer_of(change=linear, **{"head.hidden": (1, 1)})
    hits: dict[str, list[bool]] = {"occlusion": [], "cam": [], "unfitted": []}
    for (clips, _), share in zip(dives[FITTED:], holds[FITTED:], strict=True):
        found = explain(fitted, clips, fill="neighbours")
        unfitted = explain(scorer, clips, cam=False, fill="neighbours")
        places = {"occlusion": found.worst, "cam": np.argmax(found.cam_of_segments), "unfitted": unfitted.worst}
        for name, place in places.items():
            hits[name].append(bool(share[place] >= 0.5))
    chance = float((holds[FITTED:] >= 0.5).mean())

    def by_chance(name):
        return stats.binomtest(sum(hits[name]), len(hits[name]), chance, alternative="greater").pvalue

    assert by_chance("occlusion") < 0.001 and by_chance("cam") < 0.001
    assert by_chance("unfitted") > 0.05
