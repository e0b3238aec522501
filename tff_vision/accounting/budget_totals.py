"""The total cost of the runs in a budget file, for a client and for an example."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision.accounting import privacy_losses
from tff_vision.accounting.conditions import Unit

_MOST_KINDS = 64  # Of clients that differ in what several runs cost them.
_KINDS_ASKED = 6  # By privacy loss distributions; seconds each.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Totals:
  """What the runs of a file cost together, those that are under way as if finished.

  Attributes:
    unit, delta, budget: The file's.
    epsilon: For the file's unit.
    by_unit: For both units; None where nothing is promised to one.
    runs: How many are charged.
    divisions: In how many ways they divided the data into clients.
  """
  unit: Unit
  delta: float
  budget: float
  epsilon: float
  by_unit: Mapping[str, float | None]
  runs: int
  divisions: int

  def to_dict(self) -> dict[str, Any]:
    """Returns the totals as JSON types."""
    return dataclasses.asdict(self)

  @classmethod
  def from_report(cls, report: Mapping[str, Any]) -> 'Totals':
    """Returns the totals that a report holds, which has the file's name beside them."""
    return cls(**{field.name: report['budget_file'][field.name] for field in dataclasses.fields(cls)})

  def sentence(self, path: str) -> str:
    """Returns the totals of the budget in `path` in words."""
    left = self.budget - self.epsilon
    return (f'budget: {self.runs} run{"s" * (self.runs > 1)} on this data cost epsilon {self.epsilon:.3f} '
            f'of {self.budget:g} at delta {self.delta:.3g} for one {self.unit}'
            + ('' if left >= 0 or math.isclose(left, 0) else ': MORE than the budget, since rounds were run again or '
               'clients were lost; no further run fits')
            + f' ({path})')


def total(header: Mapping[str, Any], charged: Sequence[tuple[str, privacy_losses.Spent]]) -> Totals:
  """Returns what runs cost together.

  Args:
    header: Of the file.
    charged: For each run, how it divides the data into clients, and what it cost.
  """
  delta = header['delta']
  by_unit = {'client': None, 'example': _largest(charged, delta)}
  if all(spent.unit == Unit.CLIENT for _, spent in charged):
    by_unit['client'] = privacy_losses.Composition([spent.largest for _, spent in charged]).epsilon(delta)
  return Totals(unit=Unit(header['unit']), delta=delta, budget=header['epsilon'], epsilon=by_unit[header['unit']],
                by_unit=by_unit, runs=len(charged), divisions=len({division for division, _ in charged}))


def _largest(charged, delta):
  """Returns the largest epsilon of any example: whose client is known where all runs divide the data alike.

  Examples whose epsilon by Renyi accounting is largest are asked first, until no further one can matter; after a few
  kinds of them that bound has to do.
  """
  largest = 0.0
  asked = sorted(((_example_bound(chosen, delta), number, chosen) for number, chosen in enumerate(_kinds(charged))),
                 reverse=True)
  for number, (bound, _, chosen) in enumerate(asked):
    if bound <= largest:
      break
    if number == _KINDS_ASKED:
      return bound
    largest = max(largest, privacy_losses.example_epsilon(*_compositions(chosen), delta))
  return largest


def _example_bound(chosen, delta):
  return privacy_losses.example_epsilon(*_compositions(chosen), delta, quick=True)


def _compositions(chosen):
  return (privacy_losses.Composition([loss for _, loss in chosen]),
          privacy_losses.Composition([loss for unit, loss in chosen if unit == Unit.CLIENT]))


def _kinds(charged):
  """Returns, of every kind of example, what each run costs it: ((unit, loss), ...)."""
  differing = [(division, spent) for division, spent in charged if len(spent.kinds) > 1]
  if len({division for division, _ in differing}) == 1:
    choices = {tuple(spent.kind_of[client] if len(spent.kinds) > 1 else 0 for _, spent in charged)
               for client in range(len(differing[0][1].kind_of))}
  elif math.prod(len(spent.kinds) for _, spent in differing) <= _MOST_KINDS:
    choices = set(itertools.product(*(range(len(spent.kinds)) for _, spent in charged)))
  else:
    return [tuple((spent.unit, spent.largest) for _, spent in charged)]
  return [tuple((spent.unit, spent.kinds[kind]) for (_, spent), kind in zip(charged, choice, strict=True))
          for choice in sorted(choices)]
