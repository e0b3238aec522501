"""What each player of a game adds to its value: Shapley values, exact or by random orders.

Shapley, "A Value for n-Person Games", 1953. Random orders that end early: Ghorbani and Zou, "Data Shapley: Equitable
Valuation of Data for Machine Learning", ICML 2019, algorithm 1 (truncated Monte Carlo).
"""

import itertools
import math
from collections.abc import Callable

import numpy as np

# Coalition (numbers of players) -> its value.
Game = Callable[[frozenset[int]], float]


def exact(players: int, value: Game) -> np.ndarray:
  """Returns the Shapley value of each player, float64 [players]; asks for the value of all 2^players coalitions."""
  found = np.zeros(players)
  for player in range(players):
    others = [other for other in range(players) if other != player]
    for size in range(players):
      share = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
      for members in itertools.combinations(others, size):
        found[player] += share * (value(frozenset((*members, player))) - value(frozenset(members)))
  return found


def by_orders(players: int, value: Game, *, orders: int, tolerance: float, rng: np.random.Generator) -> np.ndarray:
  """Returns the mean over random orders of what each player adds to those before it, float64 [players].

  Args:
    orders: Number of random orders.
    tolerance: An order ends where the value is nearer than this to that of all players: the rest adds nothing. With 0,
      only where it is equal, values of each order add up to value(all) - value(nobody).
  """
  everybody = value(frozenset(range(players)))
  found = np.zeros(players)
  for _ in range(orders):
    before, members = value(frozenset()), frozenset()
    for player in rng.permutation(players).tolist():
      if tolerance and abs(everybody - before) < tolerance:
        break
      members |= {player}
      after = value(members)
      found[player] += after - before
      before = after
  return found / orders
