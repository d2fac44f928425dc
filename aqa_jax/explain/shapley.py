"""Shapley values of a few players: what each adds, on average over the orders in which they may come."""

import math
from collections.abc import Callable

import numpy as np

MOST_EXACT = 10
"""Players up to which all 2^S coalitions are looked at."""

ORDERS = 128
"""Orders of more players that are drawn, each with its reverse beside it."""


def shapley(value: Callable[[np.ndarray], np.ndarray], players: int, empty: float, *, seed: int = 0) -> np.ndarray:
    """Shapley values (Shapley 1953), float64 [S]; their sum is the value of all less ``empty``.

    Args:
      value: of coalitions, bool [N, S] with at least one member each -> [N].
      players: S. Up to :data:`MOST_EXACT` the values are exact; for more they are means over :data:`ORDERS` orders and
        their reverses, the same every time (Castro et al. 2009, "Polynomial calculation of the Shapley value based on
        sampling"), whose sum is exact as well.
      empty: value of nobody.
      seed: of the orders.
    """
    if players <= MOST_EXACT:
        return _exact(value, players, empty)
    rng = np.random.default_rng(seed)
    forwards = [rng.permutation(players) for _ in range(ORDERS)]
    orders = np.array([order for one in forwards for order in (one, one[::-1])])
    # place[o, p] is when player p comes: in coalition k are those that came by then.
    place = np.argsort(orders, 1)
    coalitions = place[:, None] <= np.arange(players)[None, :, None]
    values = value(coalitions.reshape(-1, players)).reshape(len(orders), players)
    added = np.diff(values, axis=1, prepend=empty)
    return np.take_along_axis(added, place, 1).mean(0)


def _exact(value: Callable[[np.ndarray], np.ndarray], players: int, empty: float) -> np.ndarray:
    coalitions = np.arange(2**players)[:, None] >> np.arange(players)[None] & 1 == 1
    values = np.concatenate([[empty], np.asarray(value(coalitions[1:]), np.float64)])
    size = coalitions.sum(1)
    found = np.empty(players)
    for player in range(players):
        without = np.flatnonzero(~coalitions[:, player])
        weight = np.array([1 / (players * math.comb(players - 1, k)) for k in size[without]])
        found[player] = weight @ (values[without + 2**player] - values[without])
    return found
