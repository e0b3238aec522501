"""The numbers that a client reports beside its update: their ranges, and how they travel.

Client work offers numbers, a privacy plan says which of them may leave at all, and a secure sum takes them along with
the update; none of the three knows the others. Pure Python.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any

WEIGHT = 'weight'
# The sum of the clients' weights, where a server's step reads it: a measurement of client work, and a place in the
# step's state, since no client is there when a hidden sum is open.
COHORT_WEIGHT = 'cohort_weight'
_WHOLE_BITS = 48  # Whole numbers of a client stay exact in float64, and in sums over any cohort.


class Measured(enum.Enum):
  """What of a client's training may be added up outside of it.

  EXACT: Loss and accuracy, for a run that promises nothing.
  NOISED: What noise of its own will cover before anyone reads it.
  NOTHING: Not even a number of examples: no noise covers it.
  """
  EXACT = 'exact'
  NOISED = 'noised'
  NOTHING = 'nothing'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside:
  """What a client's computation returns beside its update.

  Attributes:
    measured: Of its training. Numbers that are not asked for are in no type of what a client returns.
    hidden: Whether they go where the update's weight goes, for an aggregator that hides both; otherwise they are
      added up in the clear.
    weighs: Whether an update has a weight of the client's own; otherwise each counts as one.
  """
  measured: Measured = Measured.EXACT
  hidden: bool = False
  weighs: bool = True


IN_THE_CLEAR = Beside()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity:
  """One number of a client, as a multiple of a step within a range.

  Attributes:
    low: The least value.
    high: The largest.
    step: The resolution; values that are multiples of it are exact, others are rounded to the nearest.
    open_ended: Whether a value may lie outside, or be no number; the sum is then not a number. Otherwise such a value
      fails the round.
  """
  low: float
  high: float
  step: float
  open_ended: bool = False

  @property
  def largest(self) -> int:
    """The largest whole number: steps from `low` to `high`."""
    return round((self.high - self.low) / self.step)


def whole(largest: float) -> Quantity:
  """Returns the quantity of counts up to `largest`."""
  return Quantity(low=0.0, high=float(largest), step=1.0)


def fixed_point(low: float, high: float, step: float, *, open_ended: bool = False) -> Quantity:
  """Returns a quantity with the step doubled until its whole numbers take no more than 48 bits."""
  while (high - low) / step >= 2**_WHOLE_BITS:
    step *= 2
  return Quantity(low=low, high=high, step=step, open_ended=open_ended)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told:
  """What the clients of a run can tell; everything here is public.

  Attributes:
    largest_weight: No client's update weighs more.
    quantities: The numbers of each kind of measuring, by name.
    summary: From the sums over clients, float64 [], and their number as `clients`, to what is reported: TensorFlow, in
      a graph or eager.
  """
  largest_weight: float
  quantities: Mapping[Measured, Mapping[str, Quantity]]
  summary: Callable[[Mapping[str, Any]], Mapping[str, Any]]
