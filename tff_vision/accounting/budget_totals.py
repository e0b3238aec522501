"""The total cost of the runs in a budget file, for a client and for an example."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision import wording
from tff_vision.accounting import privacy_losses
from tff_vision.accounting.conditions import Unit

_MOST_KINDS = 64  # The most kinds of clients with different costs over several runs.
_KINDS_ASKED = 6  # Kinds evaluated by privacy loss distributions; each takes seconds.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Totals:
  """The total cost of the runs in a file; unfinished runs count as finished.

  Attributes:
    unit, delta, budget: As in the file.
    epsilon: Epsilon for the file's unit.
    by_unit: Epsilon for both units; None for a unit without a guarantee.
    runs: Number of charged runs.
    divisions: Number of different divisions of the data into clients.
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
    """Returns the totals in a report, which also contains the file's name."""
    return cls(**{field.name: report['budget_file'][field.name] for field in dataclasses.fields(cls)})

  def sentence(self, path: str) -> str:
    """Returns one sentence with the totals of the budget in `path`."""
    left = self.budget - self.epsilon
    return (f'budget: {wording.counted(self.runs, "run")} on this data cost epsilon '
            f'{wording.at_most(self.epsilon)} of {self.budget:g} at delta {wording.at_most(self.delta, ".3g")} '
            f'for one {self.unit}'
            + ('' if left >= 0 or math.isclose(left, 0) else ': MORE than the budget, since rounds were run again or '
               'clients were lost; no further run fits')
            + f' ({path})')


def total(header: Mapping[str, Any], charged: Sequence[tuple[str, privacy_losses.Spent]]) -> Totals:
  """Returns the total cost of the runs.

  Args:
    header: The header of the file.
    charged: For each run, its division of the data into clients, and its cost.
  """
  delta = header['delta']
  by_unit = {'client': None, 'example': _largest(charged, delta)}
  if all(spent.unit == Unit.CLIENT for _, spent in charged):
    by_unit['client'] = privacy_losses.Composition([spent.largest for _, spent in charged]).epsilon(delta)
  return Totals(unit=Unit(header['unit']), delta=delta, budget=header['epsilon'], epsilon=by_unit[header['unit']],
                by_unit=by_unit, runs=len(charged), divisions=len({division for division, _ in charged}))


def _largest(charged, delta):
  """Returns the largest epsilon of any example; its client is known if all runs divide the data in the same way.

  Examples are evaluated in decreasing order of Renyi epsilon until no remaining one can change the maximum. After a
  few kinds of examples, the Renyi bound is used for the others.
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
  """Returns, for each kind of example, the cost of each run: ((unit, loss), ...)."""
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
