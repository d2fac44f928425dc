"""Shapley values against their definition: the mean over all orders."""

from itertools import permutations

import numpy as np
import pytest

from aqa_jax.explain.shapley import MOST_EXACT, shapley


def by_definition(value, players, empty):
    added = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        before, there = empty, np.zeros(players, bool)
        for player in order:
            there[player] = True
            now = value(there[None])[0]
            added[player] += now - before
            before = now
    return added / len(orders)


def game(players):
    """Not additive: pairs that meet are worth something of their own."""
    rng = np.random.default_rng(0)
    alone, pairs = rng.normal(size=players), rng.normal(size=(players, players))
    return lambda there: there @ alone + np.einsum("ni,ij,nj->n", there, pairs, there) / there.sum(1)


def test_the_mean_over_all_orders():
    value = game(4)
    np.testing.assert_allclose(shapley(value, 4, 2.0), by_definition(value, 4, 2.0), rtol=1e-12)


def test_one_player_gets_all():
    np.testing.assert_allclose(shapley(lambda there: np.full(len(there), 7.0), 1, 2.0), [5.0])


def test_many_players_are_sampled_and_still_add_up():
    players = MOST_EXACT + 2
    value = game(players)
    found = shapley(value, players, -1.0)
    assert found.sum() == pytest.approx(value(np.ones((1, players), bool))[0] + 1)
    np.testing.assert_array_equal(found, shapley(value, players, -1.0))
    # What each has for itself in an additive game comes out exactly, in any order.
    alone = np.arange(players) - 3.0
    np.testing.assert_allclose(shapley(lambda there: there @ alone, players, 0.0), alone, atol=1e-9)
    # The exact values of the other game, by all 4096 coalitions.
    exact = shapley.__globals__["_exact"](value, players, -1.0)
    np.testing.assert_allclose(found, exact, atol=0.4)
    assert np.corrcoef(found, exact)[0, 1] > 0.98
