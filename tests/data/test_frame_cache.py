import copy

import numpy as np
import pytest

from aqa_jax.data.frame_cache import AUTO_SHARE, FrameCache, cache_bytes, free_memory
from aqa_jax.data.pace import PaceWindow
from aqa_jax.data.pipeline import eval_iterator, train_iterator
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.data.video_store import VideoStore
from tests.data.batches import assert_same

WINDOW = ClipWindow(window=36, clip_length=16, clip_starts=(0, 10, 20), max_shift=4)
CROP = (2, 5, 10, 12)
FRAME_BYTES = 10 * 12 * 3


def stream(store, cache, count, **changes):
    options = {"columns": ("score",), "batch_size": 3, "seed": 5, "crop_size": (16, 20), "threads": 3}
    batches = train_iterator(store, store.table.rows("train"), WINDOW, cache=cache, **(options | changes))
    return [next(batches) for _ in range(count)]


@pytest.fixture
def unreadable(toy, monkeypatch):
    """Call it, and nothing can be read from disk any more."""

    def break_it():
        def refuse(split, positions):
            raise AssertionError("read from disk")

        monkeypatch.setattr(toy, "_records", lambda split, positions: refuse(split, positions) if positions else [])

    return break_it


@pytest.mark.parametrize("limit", [0, 20 * 16 * 3 * 100, 1 << 30])
def test_the_stream_is_the_same_with_any_cache(toy, limit):
    cache = FrameCache(limit)
    assert_same(stream(toy, None, 12), stream(toy, cache, 12))
    assert cache.num_bytes <= limit and (cache.num_bytes > 0) == (limit > 0)


def test_a_full_epoch_of_evaluation_is_decoded_once(toy, unreadable):
    cache = FrameCache(1 << 30)
    batches = eval_iterator(toy, toy.table.rows("test"), WINDOW, batch_size=2, views=2, cache=cache)
    plain = list(eval_iterator(toy, toy.table.rows("test"), WINDOW, batch_size=2, views=2))
    assert_same(plain, batches)
    unreadable()
    assert_same(plain, batches)


def test_crop_and_mirror_from_the_cache(toy, unreadable):
    cache, frames = FrameCache(1 << 30), np.array([5, 3, 5, 17])
    whole = toy.read(4, frames)
    wanted = whole[:, 2:12, 5:17]
    np.testing.assert_array_equal(toy.read(4, frames, crop=CROP, cache=cache), wanted)
    assert cache.num_bytes == 3 * FRAME_BYTES
    # Another crop of the same frames is not the kept one.
    np.testing.assert_array_equal(toy.read(4, frames, crop=(0, 5, 10, 12), cache=cache), whole[:, :10, 5:17])
    unreadable()
    for flip in (False, True):
        out = np.zeros((4, 10, 12, 3), np.uint8)
        toy.read(4, frames, crop=CROP, flip=flip, out=out, cache=cache)
        np.testing.assert_array_equal(out, wanted[:, :, ::-1] if flip else wanted)
        out[:] = 0  # What is handed out is not what is kept.
    with pytest.raises(AssertionError, match="read from disk"):
        toy.read(4, np.array([4]), crop=CROP, cache=cache)


def test_another_dataset_does_not_find_the_frames(toy):
    cache = FrameCache(1 << 30)
    toy.read(4, np.arange(8), cache=cache)
    kept = cache.num_bytes
    metadata = copy.deepcopy(toy.metadata)
    metadata["fingerprint"] = "of another build"
    VideoStore(toy.directory, metadata).read(4, np.arange(8), cache=cache)
    assert cache.num_bytes == 2 * kept


def test_a_full_cache_keeps_what_it_has(toy):
    cache = FrameCache(2 * FRAME_BYTES + 1)
    toy.read(0, np.arange(9), crop=CROP, cache=cache)
    assert cache.num_bytes == 2 * FRAME_BYTES
    first = cache.get((toy.fingerprint, 0, 0, CROP))
    assert first is not None and cache.get((toy.fingerprint, 0, 8, CROP)) is None
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_random_crops_are_not_kept(toy):
    cache = FrameCache(1 << 30)
    stream(toy, cache, 2, random_crop=True)
    assert cache.num_bytes == 0


def test_reach_bounds_what_is_drawn():
    rng = np.random.default_rng(0)
    spread = ClipWindow(window=36, clip_length=16, clip_starts=(0, 10, 20), max_shift=0, spread=True)
    for window in (WINDOW, spread, PaceWindow(clip_length=16)):
        for length in (36, 38, 90):
            drawn = np.unique([window.draw(length, rng)[0] for _ in range(200)])
            assert len(drawn) <= window.reach(np.array([length]))[0]


def test_size_of_the_cache():
    assert cache_bytes(0) == 0 and cache_bytes(3) == 3 * 2**20
    assert 0 < cache_bytes(-1) <= AUTO_SHARE * 1.5 * free_memory()
