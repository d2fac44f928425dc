"""The rendered dives: deterministic, scored by the rules, and not to be solved by cheap statistics."""

import csv
import dataclasses
import importlib

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from aqa_jax.data.build import BUILDERS, build, builder_class
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import ConfigError

builder_class("synthetic_dives")  # puts data_builders/ on the path
world = importlib.import_module("synthetic_dives.world")
planted = importlib.import_module("synthetic_dives.planted")
videos = importlib.import_module("synthetic_dives.videos")


def frames_of(dive, **kwargs):
    return np.stack(list(world.render(dive, **kwargs)))


def shrunk(frame):
    return cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA)


def truth_row(index):
    dive = world.sample_dive(0, index, index)
    return {
        "index": index,
        "score": f"{dive.score:.4f}",
        "difficulty": f"{dive.difficulty:.1f}",
        "true_quality": f"{dive.true_quality:.6f}",
        "judge_sigma": f"{dive.judge_sigma:.6f}",
        "mean_pixel": f"{frames_of(dive).mean():.2f}",
    }


@pytest.fixture(scope="module")
def dives():
    return [world.sample_dive(0, index, index % 50) for index in range(1500)]


def test_a_dive_is_a_function_of_seed_and_index():
    dive = world.sample_dive(3, 7, 1)
    assert dive == world.sample_dive(3, 7, 1)
    np.testing.assert_array_equal(frames_of(dive), frames_of(dive))
    assert dive.score != world.sample_dive(4, 7, 1).score
    assert (frames_of(dive) != frames_of(world.sample_dive(4, 7, 1))).any()


def test_the_world_is_the_one_of_this_version():
    """If this fails on purpose, raise the builder's VERSION and write dummy_data/truth.csv anew."""
    with open(BUILDERS / "synthetic_dives" / "dummy_data" / "truth.csv", newline="") as file:
        for row in csv.DictReader(file):
            ours = truth_row(int(row["index"]))
            assert float(row.pop("mean_pixel")) == pytest.approx(float(ours.pop("mean_pixel")), abs=0.5)
            assert row == {name: str(value) for name, value in ours.items()}


def test_score_is_the_middle_three_judges_times_the_difficulty(dives):
    for dive in dives[:50]:
        middle = sorted(dive.judges)[2:5]
        assert dive.score == pytest.approx(sum(middle) * dive.difficulty)
        assert len(dive.judges) == 7
        assert all(0 <= mark <= 10 and 2 * mark == round(2 * mark) for mark in dive.judges)


def test_the_judges_scatter_by_their_known_sigma(dives):
    inside = [d for d in dives if 2.5 < d.true_quality < 7.5]
    errors = np.array([(np.array(d.judges) - d.true_quality) for d in inside])
    sigma = np.array([d.judge_sigma for d in inside])
    rounding = 0.5**2 / 12
    for low, high in ((0.15, 0.3), (0.3, 0.55), (0.55, 0.9)):
        which = (sigma >= low) & (sigma < high)
        assert (errors[which] ** 2).mean() == pytest.approx((sigma[which] ** 2).mean() + rounding, rel=0.1)


def test_noise_ceiling_and_difficulty_leave_the_score_to_the_motion(dives):
    score = np.array([d.score for d in dives])
    ceiling = np.array([d.true_quality * d.difficulty for d in dives])
    assert spearmanr(ceiling, score)[0] > 0.97
    assert spearmanr([d.difficulty for d in dives], score)[0] < 0.4


def test_amplitudes_say_nothing_about_the_quality(dives):
    quality = [d.true_quality for d in dives]
    for name in dives[0].nuisance:
        assert abs(spearmanr([d.nuisance[name] for d in dives], quality)[0]) < 0.1, name


def test_faults_change_the_tempo_and_not_the_rotation_in_total(dives):
    for dive in dives[:100]:
        pose, n = world.motion(dive), dive.nuisance
        turned = abs(pose.angle[-1] - pose.angle[0])
        assert turned == pytest.approx(dive.ss_no * np.pi, abs=0.5)  # but for the entry's over-rotation
        assert n["takeoff"] < n["entry"] < world.FRAMES


def test_the_same_dive_is_drawn_at_any_size():
    dive = world.sample_dive(0, 5, 5)
    small = frames_of(dive).astype(float)
    large = np.stack([shrunk(frame) for frame in world.render(dive, size=128)])
    assert small.shape == (world.FRAMES, 32, 32, 3)
    assert np.abs(small - large).mean() < 3


def test_a_planted_fault_shows_in_its_frames_alone_and_costs_what_it_says():
    kinds = set()
    for index in range(12):
        dive = world.sample_dive(0, index, index, planted=1.0, num_frames=planted.FRAMES)
        fault, without = dive.planted, dataclasses.replace(dive, planted=None)
        slight = planted.ORDINARY * sum(world.DEDUCTIONS.values())
        assert world.BEST_QUALITY - fault.cost - slight <= dive.true_quality <= world.BEST_QUALITY - fault.cost
        assert 0.7 * planted.COST <= fault.cost <= planted.COST
        inside = np.arange(fault.first, fault.first + planted.LENGTH)
        assert inside[0] >= dive.nuisance["takeoff"] and inside[-1] <= dive.nuisance["entry"]
        seen, clean = (frames_of(one, num_frames=planted.FRAMES) for one in (dive, without))
        shown = np.flatnonzero((seen != clean).any((1, 2, 3)))
        # A wobble starts from where the body is.
        np.testing.assert_array_equal(shown, inside[inside >= shown[0]])
        assert shown[0] <= fault.first + (fault.kind == "wobble")
        kinds.add(fault.kind)
    assert kinds == set(planted.KINDS)


def test_build_plants_faults_in_a_share_of_the_dives(tmp_path):
    options = {"train_videos": 12, "test_videos": 4, "train_athletes": 4, "test_athletes": 2, "planted": 0.5}
    store = VideoStore.open(build("synthetic_dives", data_dir=tmp_path, options=options, workers=0))
    table = store.table
    assert (table.column("num_frames") == planted.FRAMES).all()
    faulty = table.column("planted") != ""
    assert 4 <= faulty.sum() <= 12
    np.testing.assert_array_equal(np.isfinite(table.column("planted_first")), faulty)
    last = table.column("planted_last")[faulty] - table.column("planted_first")[faulty]
    assert (last == planted.LENGTH - 1).all()
    with pytest.raises(ConfigError, match="planted"):
        build("synthetic_dives", data_dir=tmp_path, options=options | {"planted": 1.5}, workers=0)


def test_build_gives_the_schema_and_keeps_athletes_apart(tmp_path):
    options = {"train_videos": 12, "test_videos": 5, "train_athletes": 4, "test_athletes": 2}
    path = build("synthetic_dives", data_dir=tmp_path, options=options, workers=0)
    store = VideoStore.open(path)
    table = store.table
    assert len(table.rows("train")) == 12 and len(table.rows("test")) == 5
    train, test = (set(table.column("group")[table.rows(split)]) for split in ("train", "test"))
    assert len(train) == 4 and len(test) == 2 and not train & test
    for name in ("judges", *videos.FACTS):
        assert np.isfinite(np.asarray(table.column(name), float)).all()
    assert (table.column("num_frames") == world.FRAMES).all()
    assert (table.column("score") <= store.metadata["score_range"][1]).all()
    dive = world.sample_dive(0, 12, 4)
    row = table.rows("test")[0]
    assert table.column("score")[row] == dive.score
    stored = store.read(int(row), np.arange(world.FRAMES))
    assert np.abs(stored.astype(float) - frames_of(dive)).mean() < 4


def test_frames_that_are_not_square_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="square"):
        build("synthetic_dives", data_dir=tmp_path, options={"width": 64}, workers=0)


def test_video_files_keep_the_motion(tmp_path):
    paths = videos.write_videos(tmp_path / "films", count=2, size=128)
    with open(tmp_path / "films" / "truth.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [path.name for path in paths]
    assert {p.name for p in (tmp_path / "films").iterdir()} == {"dive_00.mp4", "dive_01.mp4", "truth.csv"}
    for k, path in enumerate(paths):
        dive = world.sample_dive(0, 1_000_000 + k, videos.TEST_ATHLETE + k)
        assert float(rows[k]["score"]) == dive.score
        capture = cv2.VideoCapture(str(path))
        read = []
        while (got := capture.read())[0]:
            read.append(shrunk(got[1][:, :, ::-1]))
        capture.release()
        assert len(read) == world.FRAMES
        assert np.abs(np.stack(read).astype(float) - frames_of(dive)).mean() < 5
