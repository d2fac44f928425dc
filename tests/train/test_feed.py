"""One batch ahead, and still the position of the batch in use."""

import json

import numpy as np
import pytest

from aqa_jax.train.feed import Feed


class Counting:
    """Batches 1, 2, 3, ... and grain's way to say where it stands."""

    def __init__(self):
        self.taken = 0

    def __next__(self):
        self.taken += 1
        if self.taken == 4:
            raise ValueError("the fourth is damaged")
        return {"video": np.full((2, 3), self.taken, np.uint8), "row": np.array([self.taken, -self.taken])}

    def get_state(self):
        return {"taken": self.taken}


def test_batches_are_on_the_device_in_order_with_their_own_position():
    source = Counting()
    feed = Feed(source, 3)
    for number in (1, 2, 3):
        fed, waited = feed.take(None)
        assert waited >= 0
        np.testing.assert_array_equal(fed.batch["video"], np.full((1, 2, 3), number))
        assert fed.batch["video"].sharding.device_set
        assert list(fed.rows) == [number, -number]
        assert json.loads(fed.position.get_state()) == {"taken": number}
        feed._thread.submit(lambda: None).result()  # what was asked for has come
        assert source.taken == min(number + 1, 3)
    feed.close()


def test_what_goes_wrong_while_reading_ahead_is_raised_when_its_batch_is_due():
    feed = Feed(Counting(), 10)
    for _ in range(3):
        feed.take(None)
    with pytest.raises(ValueError, match="the fourth is damaged"):
        feed.take(None)
    feed.close()
