"""Shapley values: games whose values are known, the axioms on random games, and random orders."""

import itertools

import numpy as np
import pytest

from tff_vision.measures import shapley


def random_game(players, seed):
  numbers = np.random.default_rng(seed).normal(size=2 ** players)
  return lambda members: numbers[sum(2 ** member for member in members)]


def by_all_orders(players, value):
  """By definition: the mean over all orders of what a player adds to those before it."""
  added = np.zeros(players)
  orders = list(itertools.permutations(range(players)))
  for order in orders:
    for place, player in enumerate(order):
      added[player] += value(frozenset(order[:place + 1])) - value(frozenset(order[:place]))
  return added / len(orders)


def test_games_by_hand():
  # One left glove and two right ones: a pair is worth 1.
  gloves = lambda members: float(0 in members and len(members) > 1)
  np.testing.assert_allclose(shapley.exact(3, gloves), [2 / 3, 1 / 6, 1 / 6])
  # Each adds its own number; the last adds nothing (dummy), and equals share equally (symmetry).
  numbers = [3.0, 3.0, -1.0, 0.0]
  additive = lambda members: 7 + sum(numbers[member] for member in members)
  np.testing.assert_allclose(shapley.exact(4, additive), numbers, atol=1e-12)


@pytest.mark.parametrize('players', [1, 2, 3, 6])
def test_exact_values_are_those_of_the_definition_and_keep_the_axioms(players):
  for seed in range(3):
    value = random_game(players, seed)
    found = shapley.exact(players, value)
    np.testing.assert_allclose(found, by_all_orders(players, value), atol=1e-12)
    assert found.sum() == pytest.approx(value(frozenset(range(players))) - value(frozenset()))
    dummy = lambda members, value=value: value(members - {0})
    assert shapley.exact(players, dummy)[0] == pytest.approx(0)
    twins = lambda members, value=value: value(members - {0, 1}) + len(members & {0, 1}) ** 2
    assert shapley.exact(players, twins)[0] == pytest.approx(shapley.exact(players, twins)[min(1, players - 1)])


def test_random_orders_add_up_and_come_near():
  value = random_game(5, 3)
  rng = np.random.default_rng(0)
  found = shapley.by_orders(5, value, orders=4000, tolerance=0.0, rng=rng)
  assert found.sum() == pytest.approx(value(frozenset(range(5))) - value(frozenset()))
  np.testing.assert_allclose(found, shapley.exact(5, value), atol=0.1)


def test_an_order_ends_where_the_rest_adds_next_to_nothing():
  asked = []

  def value(members):
    asked.append(members)
    return 1.0 if 0 in members else 0.0

  found = shapley.by_orders(8, value, orders=50, tolerance=0.01, rng=np.random.default_rng(2))
  np.testing.assert_allclose(found, [1, *[0] * 7])
  assert max(len(members) for members in asked[1:] if members - {0} and 0 in members) < 9
  after_zero = [members for members in asked[1:] if 0 in members]
  assert len(after_zero) == 50, 'nobody is asked about after the player who adds everything'
