"""The tree-structured Parzen estimator: proposes the settings of the next cell from the results of those before.

Bergstra, Bardenet, Bengio and Kegl, "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011. Each setting has two
densities, over its values in good cells and in the others; the proposal is the candidate with the largest ratio of the
two. Settings are modelled independently of each other, as in the paper where no setting depends on another.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision.program import sweep_cells

Grid = Mapping[str, list[Any] | sweep_cells.Range]
Tried = Sequence[tuple[Mapping[str, Any], float]]
_GOOD_SHARE = 0.25
_CANDIDATES = 24
_AT_RANDOM = 2  # Cells drawn at random for each setting, before the first proposal.


def propose(grid: Grid, tried: Tried, rng: np.random.Generator, *, at_most: int = 1000) -> Mapping[str, Any] | None:
  """Returns the settings of the next cell, which was not tried; None if no other is found.

  Args:
    grid: Setting -> its values, or their range.
    tried: The settings of each cell so far with its goodness (higher is better; minus infinity: it failed).
    rng: Decides, together with the arguments, what is proposed.
    at_most: The draws after which the search for a cell that was not tried ends.
  """
  known = {tuple(settings[name] for name in grid) for settings, _ in tried}
  new = [settings for settings in (_drawn(grid, rng) for _ in range(at_most))
         if tuple(settings.values()) not in known]
  if not new:
    return None
  if len(tried) < _AT_RANDOM * len(grid):
    return new[0]
  order = sorted(tried, key=lambda one: -math.inf if math.isnan(one[1]) else one[1], reverse=True)
  number = max(1, math.ceil(_GOOD_SHARE * len(order)))
  densities = {name: (_density(values, [one[name] for one, _ in order[:number]]),
                      _density(values, [one[name] for one, _ in order[number:]])) for name, values in grid.items()}
  likely = ({name: good.draw(rng) for name, (good, _) in densities.items()} for _ in range(_CANDIDATES))
  candidates = [one for one in likely if tuple(one.values()) not in known]
  ratio = lambda settings: sum(math.log(good.of(settings[name])) - math.log(other.of(settings[name]))
                               for name, (good, other) in densities.items())
  return max(candidates, key=ratio) if candidates else new[0]


def _drawn(grid, rng):
  return {name: values.draw(rng) if isinstance(values, sweep_cells.Range) else values[int(rng.integers(len(values)))]
          for name, values in grid.items()}


def _place(values, value):
  """Returns where a number lies in its range, 0 to 1: uniform for whole numbers, else in the logarithm."""
  if values.whole:
    return (value - values.low) / (values.high - values.low)
  return math.log(value / values.low) / math.log(values.high / values.low)


def _at(values, place):
  if values.whole:
    return round(values.low + place * (values.high - values.low))
  return min(values.high, max(values.low, float(f'{values.low * (values.high / values.low) ** place:.4g}')))


class _Choices:
  """A distribution over single values: how often each was seen, once more for each."""

  def __init__(self, values: Sequence[Any], seen: Sequence[Any]):
    self._values = values
    self._shares = np.array([seen.count(value) + 1.0 for value in values])
    self._shares /= self._shares.sum()

  def of(self, value: Any) -> float:
    return float(self._shares[self._values.index(value)])

  def draw(self, rng: np.random.Generator) -> Any:
    return self._values[int(rng.choice(len(self._values), p=self._shares))]


class _Bumps:
  """A density over a range: a bump at each number that was seen, and the uniform prior, which counts as one of them.

  A bump is as wide as its larger distance to a neighbour.
  """

  def __init__(self, values: sweep_cells.Range, seen: Sequence[float]):
    self._range = values
    self._places = np.sort([_place(values, one) for one in seen])
    gaps = np.diff(np.concatenate([[0.0], self._places, [1.0]]))
    self._widths = np.clip(np.maximum(gaps[:-1], gaps[1:]), 1 / (3 + len(seen)), 1.0)

  def of(self, value: float) -> float:
    bumps = np.exp(-((_place(self._range, value) - self._places) / self._widths) ** 2 / 2) / (
        self._widths * math.sqrt(2 * math.pi))
    return (1.0 + float(bumps.sum())) / (1 + len(self._places))

  def draw(self, rng: np.random.Generator) -> float:
    number = int(rng.integers(len(self._places) + 1))
    place = rng.uniform() if number == len(self._places) else rng.normal(self._places[number], self._widths[number])
    return _at(self._range, min(1.0, max(0.0, place)))


def _density(values: Any, seen: Sequence[Any]) -> _Choices | _Bumps:
  return _Bumps(values, seen) if isinstance(values, sweep_cells.Range) else _Choices(values, seen)
