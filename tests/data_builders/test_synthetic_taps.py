"""The rendered taps: deterministic, of known severity that no single cue gives away, and with a visible pace."""

import csv
import dataclasses
import importlib

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from aqa_jax.data.build import BUILDERS, build, builder_class
from aqa_jax.data.builder import make_table
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import ConfigError, DataError

builder_class("synthetic_taps")  # puts data_builders/ on the path
world = importlib.import_module("synthetic_taps.world")
videos = importlib.import_module("synthetic_taps.videos")
render = importlib.import_module("synthetic_taps.render")
figures = importlib.import_module("synthetic_taps.figures")

SMALL = {"train_videos": 8, "unlabelled_videos": 9, "test_videos": 6, "train_patients": 4, "pool_patients": 2}
SMALL |= {"test_patients": 3, "frames": 64}


def truth_row(index):
    video = world.sample_video(0, index, index, world.SIDES[index % 2], movement=world.MOVEMENTS[index // 2 % 2])
    facts = {name: f"{value:.6f}" for name, value in render.truth(video).items()}
    return {"index": str(index), **facts, "mean_pixel": f"{world.render(video).mean():.2f}"}


@pytest.fixture(scope="module")
def population():
    return [world.sample_video(0, k, k % 100, world.SIDES[k // 100 % 2]) for k in range(2000)]


def test_a_video_is_a_function_of_seed_patient_and_index():
    video = world.sample_video(3, 7, 1)
    assert video == world.sample_video(3, 7, 1)
    np.testing.assert_array_equal(world.render(video), world.render(video))
    assert video.severity != world.sample_video(4, 7, 1).severity
    assert video.patient == world.sample_video(3, 8, 1).patient != world.sample_video(3, 7, 2).patient


def test_the_world_is_the_one_of_this_version():
    """If this fails on purpose, raise the builder's VERSION and write dummy_data/truth.csv anew."""
    with open(BUILDERS / "synthetic_taps" / "dummy_data" / "truth.csv", newline="") as file:
        for row in csv.DictReader(file):
            ours = truth_row(int(row["index"]))
            assert float(row.pop("mean_pixel")) == pytest.approx(float(ours.pop("mean_pixel")), abs=0.5)
            assert row == ours


def test_scores_are_0_to_4_and_none_is_rare(population):
    shares = np.bincount([video.score for video in population], minlength=5) / len(population)
    assert len(shares) == 5 and shares.min() > 0.05 and shares.max() < 0.4
    assert spearmanr([v.severity for v in population], [v.score for v in population])[0] > 0.9
    assert all(0 < video.severity < 4 for video in population)


def test_no_single_cue_orders_the_severity(population):
    score = [video.score for video in population]
    cues = {
        **{name: [v.factors[name] for v in population] for name in world.FACTORS},
        "rate": [v.rate for v in population],
        "first opening": [v.opening for v in population],
        "last opening": [v.opening * (1 - v.decrement) for v in population],
        "amount of motion": [
            v.rate * v.opening * (1 - v.decrement / 2) * (1 - v.halted / v.num_frames) for v in population
        ],
    }
    found = {name: abs(spearmanr(cue, score)[0]) for name, cue in cues.items()}
    assert max(found.values()) < 0.72, found
    assert min(found[name] for name in ("slowing", "decrement", "hesitation")) > 0.4, found
    assert found["first opening"] < 0.1


def test_severity_is_of_the_visit_more_than_of_the_patient(population):
    severity = np.array([video.severity for video in population]).reshape(-1, 100)  # [visits, patients]
    assert severity.std(0).mean() > 0.8 * severity.std()
    for looks in ("scale", "girth", "angle", "opening", "period"):
        values = [getattr(video.patient, looks) for video in population]
        assert abs(spearmanr(values, [video.severity for video in population])[0]) < 0.25, looks


def test_five_times_faster_is_still_no_alias(population):
    assert min(video.period for video in population) / 5 > 4
    assert max(video.period for video in population) < 64


def test_the_opening_moves_at_a_steady_speed_but_for_the_halts():
    video = world.sample_video(0, 0, 0)
    video = dataclasses.replace(video, halts=(), jitter=0.0, decrement=0.0)
    speed = np.abs(np.diff(world.motion(video)))
    assert np.quantile(speed, 0.15) > 0.75 * np.quantile(speed, 0.9)
    assert world.motion(video).min() >= 0 and world.motion(video).max() <= video.opening
    halted = world.motion(dataclasses.replace(video, halts=((40.0, 8.0),)))
    assert not np.diff(halted)[40:47].any() and np.diff(halted)[:39].all() and np.diff(halted)[49:].all()


def test_decrement_shrinks_the_last_openings():
    video = dataclasses.replace(world.sample_video(0, 0, 0), halts=(), jitter=0.0, decrement=0.5)
    opening = world.motion(video)
    assert opening[-50:].max() < 0.7 * opening[:50].max()


@pytest.mark.parametrize("movement", world.MOVEMENTS)
def test_left_is_the_mirror_image_of_right(movement):
    right = world.sample_video(0, 3, 3, "right", movement=movement, num_frames=64)
    left = dataclasses.replace(right, side="left")
    np.testing.assert_array_equal(world.render(left), world.render(right)[:, :, ::-1])


def test_the_same_video_is_drawn_at_any_size():
    video = world.sample_video(0, 5, 5, num_frames=64)
    small = world.render(video).astype(float)
    large = np.stack([cv2.resize(f, (36, 36), interpolation=cv2.INTER_AREA) for f in world.render(video, size=144)])
    assert small.shape == (64, 36, 36, 3)
    assert np.abs(small - large).mean() < 3


@pytest.mark.parametrize("movement", world.MOVEMENTS)
def test_change_rises_with_the_pace(movement):
    rising = []
    for k in range(30):
        frames = world.render(world.sample_video(0, k, k, movement=movement))
        change = [figures.motion_energy(frames[k % 100 :: pace][:9]).mean() for pace in (1, 2, 3, 4, 5)]
        rising.append(spearmanr(change, range(5))[0] > 0.85)
    assert np.mean(rising) > 0.7, np.mean(rising)


def test_the_pace_is_in_the_pixels():
    """By hand, from one ratio; a trained model should do better."""
    some = [world.render(world.sample_video(0, k, k, world.SIDES[k % 2])) for k in range(60)]
    segment, pace = figures.pace_accuracy(figures.pace_trials(some, 600, np.random.default_rng(0)))
    assert segment > 0.95 and pace > 0.55, (segment, pace)


def test_repeated_frames_have_no_pace():
    frames = world.render(world.sample_video(0, 0, 0))
    assert figures.motion_energy(np.repeat(frames[:1], 32, 0)).max() == 0


def test_build_keeps_test_patients_apart_and_the_pool_unlabelled(tmp_path):
    store = VideoStore.open(build("synthetic_taps", data_dir=tmp_path, options=SMALL, workers=0))
    table = store.table
    train, pool, test = (table.rows(split) for split in ("train", "unlabelled", "test"))
    assert (len(train), len(pool), len(test)) == (8, 9, 6)
    groups = [set(table.column("group")[rows]) for rows in (train, pool, test)]
    assert [len(found) for found in groups] == [4, 6, 3]
    assert groups[0] <= groups[1] and not groups[2] & groups[1]
    for name in render.truth(world.sample_video(0, 0, 0)):
        values = table.column(name)
        assert np.isfinite(values[np.concatenate([train, test])]).all() and np.isnan(values[pool]).all(), name
    for group in groups[0]:
        assert set(table.column("side")[train][table.column("group")[train] == group]) == set(world.SIDES)
    video = world.sample_video(0, 2_000_001, 10_001, table.column("side")[test[1]], num_frames=64)
    assert table.column("score")[test[1]] == video.score
    assert np.abs(store.read(int(test[1]), np.arange(64)).astype(float) - world.render(video)).mean() < 2


def test_other_sizes_and_processes_give_the_same_test_videos(tmp_path):
    def stored(name, workers, **options):
        path = build("synthetic_taps", data_dir=tmp_path / name, options=SMALL | options, workers=workers)
        store = VideoStore.open(path)
        ids = store.table.column("id")[store.table.rows("test")]
        return store.metadata["fingerprint"], {id_: store.read(store.table.row(id_), np.arange(64)) for id_ in ids}

    one, frames = stored("one", 0)
    assert stored("two", 2)[0] == one
    other, others = stored("three", 0, train_videos=5, train_patients=3, pool_patients=3)
    assert other != one and frames.keys() == others.keys()
    assert all((frames[id_] == others[id_]).all() for id_ in frames)


def test_scores_are_where_labels_are_and_nowhere_else():
    row = {"group": "a", "difficulty": None, "judges": [], "eval_start": 0}
    train = {**row, "id": "1", "split": "train", "score": 2.0}
    pool = {**row, "id": "2", "split": "unlabelled", "score": None}
    assert make_table([train, pool], ("unlabelled",))["score"] == [2.0, None]
    with pytest.raises(DataError, match="not a number for: 2"):
        make_table([train, pool])
    with pytest.raises(DataError, match="unlabelled split with a score: 2"):
        make_table([train, pool | {"score": 1.0}], ("unlabelled",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 64}, "square"),
        ({"movement": "jump"}, "no movement 'jump'; there are tap and step"),
        ({"frames": 32}, "64 frames or more, got 32"),
        ({"test_patients": 0}, "test_patients must be at least 1"),
        ({"unlabelled_videos": 0}, "unlabelled_videos must be 1 to"),
        ({"pool_patients": 10_000}, "pool_patients must be"),
    ],
)
def test_impossible_options_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        build("synthetic_taps", data_dir=tmp_path, options=options, workers=0)
    assert not list(tmp_path.rglob("*.array_record*"))


def test_video_files_keep_the_motion(tmp_path):
    table = builder_class("synthetic_taps").write_samples(tmp_path / "films", 2)
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {path.name for path in table.parent.iterdir()} == {"tap_00.mp4", "tap_01.mp4", "truth.csv"}
    for k, row in enumerate(rows):
        video = world.sample_video(0, videos.FIRST_INDEX + k, videos.FIRST_PATIENT + k, world.SIDES[k % 2])
        assert float(row["score"]) == video.score and row["difficulty"] == "1.0" and row["side"] == video.side
        capture = cv2.VideoCapture(str(table.parent / row["file"]))
        read = []
        while (got := capture.read())[0]:
            read.append(cv2.resize(got[1][:, :, ::-1], (36, 36), interpolation=cv2.INTER_AREA))
        capture.release()
        assert len(read) == world.FRAMES
        assert np.abs(np.stack(read).astype(float) - world.render(video)).mean() < 5
