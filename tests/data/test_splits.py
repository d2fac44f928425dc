import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqa_jax.data.splits import carve, folds_of, held_out
from aqa_jax.data.video_store import VideoTable
from aqa_jax.errors import ConfigError, DataError


def table(sizes):
    groups = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    return VideoTable({"id": [f"v{i}" for i in range(len(groups))], "group": groups})


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=15),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(0, 9),
)
def test_no_group_on_both_sides_and_no_row_lost(sizes, fraction, seed):
    some = table(sizes)
    train, validation = carve(some, np.arange(len(some)), fraction=fraction, seed=seed)
    np.testing.assert_array_equal(np.sort(np.r_[train, validation]), np.arange(len(some)))
    groups = some.column("group")
    assert len(train) and len(validation) and not set(groups[train]) & set(groups[validation])
    # Never further from what was asked for than the best single group.
    target = fraction * len(some)
    assert abs(len(validation) - target) <= min(abs(size - target) for size in sizes) + 1


def test_same_seed_same_split_and_other_seed_another():
    some = table([5] * 12)
    splits = [tuple(carve(some, np.arange(60), seed=seed)[1]) for seed in (0, 0, 1, 2, 3)]
    assert splits[0] == splits[1] and len(set(splits)) > 2


def test_nearest_fraction_of_coarse_groups():
    some = table([50, 30, 20])
    assert len(carve(some, np.arange(100), fraction=0.1)[1]) == 20
    assert len(carve(some, np.arange(100), fraction=0.3)[1]) == 30
    assert len(carve(some, np.arange(100), fraction=0.5)[1]) == 50


def test_only_the_given_rows_and_random_rows():
    some = table([10, 10])
    rows = np.arange(15)
    train, validation = carve(some, rows, fraction=0.2, by="random")
    assert len(validation) == 3
    np.testing.assert_array_equal(np.sort(np.r_[train, validation]), rows)


def test_impossible():
    with pytest.raises(DataError, match="all 10 rows share one 'group'"):
        carve(table([10]), np.arange(10))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        carve(table([5, 5]), np.arange(10), fraction=1.0)
    with pytest.raises(DataError, match="no column 'patient'"):
        carve(table([5, 5]), np.arange(10), by="patient")


def columns():
    return VideoTable({
        "id": list("abcdef"),
        "group": ["B", "B", "C", "D", "D", "D"],
        "fold": [0, 1, 2, 0, 1, -1],
        "weight": [0.5, 2.0, None, 0.5, 1.0, 1.0],
        "judges": [[1, 2]] * 6,
    })  # fmt: skip


@pytest.mark.parametrize(("where", "test"), [
    ("fold=0", [0, 3]), ("fold=-1", [5]), ("group=B+C", [0, 1, 2]), ("weight=0.5", [0, 3]), ("weight=2", [1]),
    ("id=f", [5]),
])  # fmt: skip
def test_videos_held_out_by_a_column(where, test):
    train, tested = held_out(columns(), np.array([5, 4, 3, 2, 1, 0]), where)
    assert tested.tolist() == test and train.tolist() == sorted(set(range(6)) - set(test))


def test_only_the_rows_that_are_asked_for_are_split():
    train, test = held_out(columns(), np.array([0, 1, 2]), "fold=0")
    assert train.tolist() == [1, 2] and test.tolist() == [0]


@pytest.mark.parametrize(("where", "message"), [
    ("fold", "'fold' is not column=value"),
    ("fold=", "'fold=' is not column=value"),
    ("folds=0", "no column 'folds' to choose by; there are id, group, fold, weight"),
    ("judges=1", "no column 'judges'"),
    ("fold=7", "no video of the training split has fold 7; there are -1, 0, 1, 2"),
    ("group=B+X", "has group X; there are B, C, D"),
])  # fmt: skip
def test_columns_and_values_that_are_not_there(where, message):
    with pytest.raises(ConfigError, match=message):
        held_out(columns(), np.arange(6), where)


def test_nothing_left_to_train_on():
    with pytest.raises(DataError, match="'group=D' takes all 3 videos: none is left to train on"):
        held_out(columns(), np.array([3, 4, 5]), "group=D")


def test_folds_are_the_values_of_a_column():
    columns = {
        "id": [f"v{n}" for n in range(12)],
        "fold": [10, 2, 2, -1, 10, 2, 10, 2, -1, 2, 10, 10],
        "weight": [0.5, 0.5, 0.5, None, 2.0, 2.0, 2.0, 2.0, 2.0, None, None, -1.0],
        "level": ["N", "E", "N", "E", "N", "E", "N", "E", "", "", "N", "E"],
    }
    table, rows = VideoTable(columns), np.arange(12)
    # In the order of numbers; those in no fold are counted.
    assert folds_of(table, rows, "fold", "key") == (["2", "10"], 2)
    assert folds_of(table, rows, "weight", "key") == (["0.5", "2"], 4)
    assert folds_of(table, rows, "level", "key") == (["E", "N"], 2)
    for value in ("2", "10"):
        assert len(held_out(table, rows, f"fold={value}")[1]) == 5
    with pytest.raises(ConfigError, match="key: all 5 videos have the fold 2: tested on it, none is left"):
        folds_of(table, rows[np.array(columns["fold"]) == 2], "fold", "key")
    with pytest.raises(ConfigError, match=r"key: folds with fewer than 3 videos, .*: fold=2 \(2\)\. Choose"):
        folds_of(table, np.array([0, 1, 2, 4, 6]), "fold", "key")
