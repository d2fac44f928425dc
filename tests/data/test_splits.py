import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqa_jax.data.splits import carve
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
