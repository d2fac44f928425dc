import numpy as np
import pytest

from aqa_jax.data.pace import PaceWindow
from aqa_jax.data.pipeline import eval_iterator, train_iterator
from aqa_jax.data.sampling import ClipWindow
from aqa_jax.errors import ConfigError, DataError
from tests.data.batches import assert_same

from .toy_videos import render

WINDOW = ClipWindow(window=36, clip_length=16, clip_starts=(0, 10, 20), max_shift=4)
COLUMNS = ("score", "difficulty", "judges")


def iterator(store, **changes):
    options = {"columns": COLUMNS, "batch_size": 3, "seed": 5, "crop_size": (16, 20), "random_crop": True}
    return train_iterator(store, store.table.rows("train"), WINDOW, **(options | changes))


def take(batches, count):
    return [next(batches) for _ in range(count)]


def test_batch(toy):
    batch = next(iterator(toy, crop_size=None, flip=False))
    assert batch["video"].shape == (3, 3, 16, 24, 32, 3) and batch["video"].dtype == np.uint8
    assert batch["row"].dtype == np.int32
    for name in COLUMNS:
        assert batch[name].dtype == np.float32
        np.testing.assert_array_equal(batch[name], toy.table.column(name)[batch["row"]].astype(np.float32))
    for video, row in zip(batch["video"], batch["row"], strict=True):
        # The green channel tells the frame's number.
        start = round(int(video[0, 0, 0, 0, 1]) / 4)
        assert 0 <= start <= 4
        wanted = [[render.frame(row, number) for number in clip] for clip in WINDOW.frames(start)]
        np.testing.assert_allclose(video, np.array(wanted), atol=3)


def test_same_stream_for_any_number_of_threads_and_any_buffer(toy):
    reference = take(iterator(toy, threads=1), 9)
    assert_same(reference, take(iterator(toy, threads=5), 9))
    assert_same(reference, take(iterator(toy, buffer_bytes=1), 9))
    assert not np.array_equal(reference[0]["row"], next(iterator(toy, seed=6))["row"])


def test_resume_in_the_middle_of_an_epoch(toy):
    whole = take(iterator(toy), 9)
    first = iterator(toy)
    take(first, 5)
    state = first.get_state()
    second = iterator(toy, threads=3)
    second.set_state(state)
    assert_same(take(second, 4), whole[5:])


def test_each_epoch_holds_every_row_once_in_another_order(toy):
    rows = np.concatenate([batch["row"] for batch in take(iterator(toy, batch_size=1), 33)]).reshape(3, 11)
    np.testing.assert_array_equal(np.sort(rows), np.tile(np.arange(11), (3, 1)))
    assert not np.array_equal(rows[0], rows[1])


def test_processes_share_the_batches_of_one(toy):
    one = take(iterator(toy, batch_size=6), 6)
    two = [take(iterator(toy, process_index=i, process_count=2), 6) for i in range(2)]
    for k, batch in enumerate(one):
        for name in batch:
            np.testing.assert_array_equal(
                batch[name], np.stack([two[0][k][name], two[1][k][name]], 1).reshape(batch[name].shape)
            )


def test_augmentation_differs_between_epochs_and_follows_the_seed(toy):
    def seen(seed):
        batches = take(iterator(toy, batch_size=11, seed=seed), 3)
        return [batch["video"][np.argsort(batch["row"])] for batch in batches]

    first, second, _ = seen(1)
    assert not np.array_equal(first, second)
    assert_same([{"v": v} for v in seen(1)], [{"v": v} for v in seen(1)])


def test_flip_mirrors_about_half(toy):
    batches = take(iterator(toy, batch_size=11, crop_size=None), 6)
    # Unmirrored, the right half is the reddest.
    mirrored = [video[0, 0, 0, 0, 0] > 195 for batch in batches for video in batch["video"]]
    rows = np.concatenate([batch["row"] for batch in batches])
    assert 15 < np.sum(mirrored) < 51 and len(rows) == 66


def test_shuffled_time_keeps_the_frames_and_loses_their_order(toy):
    video = next(iterator(toy, shuffle_time=True, crop_size=None, flip=False))["video"][0]
    numbers = np.round(video[:, :, 0, 0, 1].astype(int) / 4).astype(int)
    assert len(set(numbers.ravel())) == 36 and np.ptp(numbers) == 35
    assert (np.diff(numbers, axis=1) == 1).mean() < 0.3
    # Clips overlap by six frames, and still do.
    np.testing.assert_array_equal(numbers[0, 10:], numbers[1, :6])


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("views", [1, 2])
def test_evaluation_reads_every_row_once_a_view(toy, processes, views):
    rows = toy.table.rows("train")
    seen, lengths = [], set()
    for index in range(processes):
        batches = eval_iterator(
            toy, rows, WINDOW, batch_size=4, views=views, process_index=index, process_count=processes
        )
        read = list(batches)
        lengths.add(len(read))
        assert len(batches) == len(read)
        for batch in read:
            assert batch["video"].shape == (4, 3, 16, 24, 32, 3)
            np.testing.assert_array_equal(batch["mask"], batch["row"] >= 0)
            assert not batch["video"][batch["mask"] == 0].any() and not batch["score"][batch["mask"] == 0].any()
            seen += [(r, v) for r, v in zip(batch["row"], batch["view"], strict=True) if r >= 0]
    assert len(lengths) == 1
    assert sorted(seen) == [(row, view) for row in rows for view in range(views)]


def test_evaluation_reads_the_published_window_and_can_be_repeated(toy):
    batches = eval_iterator(toy, toy.table.rows("test"), WINDOW, batch_size=5)
    (batch,), again = list(batches), list(batches)
    assert_same([batch], again)
    for video, row in zip(batch["video"], batch["row"], strict=True):
        wanted = [[render.frame(row - 11, n) for n in clip] for clip in WINDOW.frames(1)]
        np.testing.assert_allclose(video, np.array(wanted), atol=3)
    shuffled = next(iter(eval_iterator(toy, toy.table.rows("test"), WINDOW, batch_size=5, shuffle_time=True)))
    assert not np.array_equal(shuffled["video"], batch["video"])


KEYS = np.array([0, 1, 1, 2, 0, 1, 2, 2, 3, 1, 0] + [0] * 50, np.float32)


def test_every_row_comes_with_another_of_its_key(toy):
    batches = take(iterator(toy, batch_size=2, pair_keys=KEYS, columns=("key",), extra_columns={"key": KEYS}), 44)
    pairs = np.array([batch["row"] for batch in batches])
    np.testing.assert_array_equal(np.sort(pairs[:, 0].reshape(4, 11)), np.tile(np.arange(11), (4, 1)))
    for (query, partner), batch in zip(pairs, batches, strict=True):
        assert KEYS[query] == KEYS[partner]
        # Row 8 is the only one with its key.
        assert (query == partner) == (query == 8)
        np.testing.assert_array_equal(batch["key"], KEYS[[query, partner]])
        assert batch["key"].dtype == np.float32
    assert len({int(partner) for query, partner in pairs if query == 1}) > 1


def test_the_stream_of_pairs_is_one_for_any_reader(toy):
    options = {"pair_keys": KEYS, "batch_size": 4}
    whole = take(iterator(toy, **options), 6)
    assert_same(whole, take(iterator(toy, threads=1, buffer_bytes=1, **options), 6))
    first = iterator(toy, **options)
    take(first, 2)
    second = iterator(toy, **options)
    second.set_state(first.get_state())
    assert_same(take(second, 4), whole[2:])
    halves = [take(iterator(toy, pair_keys=KEYS, batch_size=2, process_index=i, process_count=2), 6) for i in range(2)]
    for k, batch in enumerate(whole):
        for name in batch:
            np.testing.assert_array_equal(batch[name], np.concatenate([halves[0][k][name], halves[1][k][name]]))


def test_evaluation_delivers_columns_that_the_table_lacks(toy):
    rows = toy.table.rows("test")
    (batch,) = eval_iterator(toy, rows, WINDOW, batch_size=5, columns=("key",), extra_columns={"key": KEYS + 1})
    np.testing.assert_array_equal(batch["key"], np.where(batch["row"] >= 0, KEYS[batch["row"]] + 1, 0))


def test_impossible_requests(toy):
    with pytest.raises(DataError, match=r"3 videos have fewer frames than the window of 41: train-0 \(40\), train-5"):
        iterator_of = ClipWindow(window=41, clip_length=8, clip_starts=(0,))
        train_iterator(toy, toy.table.rows("train"), iterator_of, batch_size=1, seed=0)
    with pytest.raises(ConfigError, match="batch of 3 cannot hold pairs"):
        iterator(toy, pair_keys=KEYS)
    with pytest.raises(ConfigError, match="a crop of 25x25 does not fit"):
        iterator(toy, crop_size=25)
    with pytest.raises(DataError, match="column 'name' is text"):
        iterator(toy, columns=("name",))
    with pytest.raises(DataError, match="no rows"):
        eval_iterator(toy, np.array([], int), WINDOW, batch_size=1)


def test_a_corrupt_frame_stops_the_iteration(toy, monkeypatch):
    monkeypatch.setattr(toy, "_jpegs", lambda record: [memoryview(b"\xff\xd8 cut")] * 8)
    with pytest.raises(DataError, match=r"video 'train-\d+', frame \d+: the JPEG is cut short"):
        next(iterator(toy))


def frame_numbers(video):
    """The green channel tells a frame's number: [B, 1, T, H, W, 3] -> [B, T]."""
    return np.round(video[:, 0, :, 0, 0, 1].astype(float) / 4).astype(int)


def test_paces_and_their_labels(toy):
    window = PaceWindow(clip_length=16, paces=(2, 3))
    batches = train_iterator(toy, toy.table.rows("train"), window, columns=(), batch_size=6, seed=0, flip=False)
    for batch in take(batches, 3):
        assert batch["segment"].dtype == batch["pace"].dtype == np.int32
        steps = np.diff(frame_numbers(batch["video"]), axis=1)
        for clip, segment, pace in zip(steps, batch["segment"], batch["pace"], strict=True):
            wanted = np.ones(15, int)
            wanted[4 * segment : 4 * segment + 4] = pace + 2
            np.testing.assert_array_equal(clip, wanted)


def test_a_test_of_paces_is_balanced_and_padded(toy):
    window = PaceWindow(clip_length=16, paces=(2, 3))
    rows = toy.table.rows("test")
    batches = list(eval_iterator(toy, rows, window, columns=(), batch_size=3, views=8))
    assert [list(batch["mask"]) for batch in batches[-1:]] == [[1, 0, 0][: len(batches[-1]["mask"])]]
    labels = np.concatenate([np.stack([b["segment"], b["pace"]], 1)[b["mask"] > 0] for b in batches])
    pairs, counts = np.unique(labels, axis=0, return_counts=True)
    assert len(pairs) == 8 and set(counts) == {len(rows)}


@pytest.mark.parametrize("window", [WINDOW, PaceWindow(clip_length=16)])
def test_a_still_clip_is_one_frame(toy, window):
    batch = next(train_iterator(toy, toy.table.rows("train"), window, columns=(), batch_size=4, seed=0, still=True))
    np.testing.assert_array_equal(batch["video"], np.broadcast_to(batch["video"][:, :, :1], batch["video"].shape))
    for batch in eval_iterator(toy, toy.table.rows("test"), window, columns=(), batch_size=4, still=True):
        assert np.ptp(batch["video"].astype(int), axis=2).max() == 0


def test_a_video_shorter_than_the_clip_is_named(toy):
    with pytest.raises(DataError, match=r"fewer frames than the window of 64: train-0 \(\d+\)"):
        train_iterator(toy, toy.table.rows("train"), PaceWindow(clip_length=64), columns=(), batch_size=2, seed=0)
