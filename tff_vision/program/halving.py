"""Successive halving: all cells train for a few rounds, then only the best of them go on.

Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016,
arXiv:1502.07943.
"""

import math
from collections.abc import Mapping, Sequence


def rungs(cells: int, *, rounds: int, factor: int, step: int) -> list[int]:
  """Returns the rounds after which cells are compared, in order; the last one is `rounds`.

  Args:
    cells: The number of cells that begin.
    rounds: The rounds of a whole run.
    factor: One cell in `factor` goes on after each comparison, with `factor` times the rounds.
    step: Rounds between two evaluations; cells are compared at evaluations only.
  """
  times = int(math.log(cells, factor) + 1e-9) if cells > 1 else 0
  found = {math.ceil(rounds / factor**i / step) * step for i in range(1, times + 1)}
  return [*sorted(number for number in found if number < rounds), rounds]


def survivors(goodness: Mapping[str, float], *, factor: int) -> list[str]:
  """Returns the names that go on: one in `factor`, rounded up, the best first.

  Args:
    goodness: Name -> a number that is higher for a better cell; not a number, or minus infinity: it has failed.
  """
  kept = math.ceil(len(goodness) / factor)
  worst = lambda name: -math.inf if math.isnan(goodness[name]) else goodness[name]
  return sorted(goodness, key=worst, reverse=True)[:kept]  # Stable: of equals, the first of the grid.


def total_rounds(cells: int, *, rungs: Sequence[int], factor: int) -> int:
  """Returns the rounds that all cells train together."""
  total, before = 0, 0
  for number in rungs:
    total += cells * (number - before)
    before, cells = number, math.ceil(cells / factor)
  return total
