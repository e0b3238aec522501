"""The numbers that a client reports beside its update: their ranges, and how they travel.

Client work offers numbers, a privacy plan says which of them may leave the client, and a secure sum sends them together
with the update; none of the three depends on the others. Pure Python.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any

WEIGHT = 'weight'
# The sum of the clients' weights, where a server's step reads it. It is a measurement of client work, and an entry in
# the step's state, because no client takes part when a hidden sum is opened.
COHORT_WEIGHT = 'cohort_weight'
_WHOLE_BITS = 48  # So that a client's whole numbers, and their sums over any cohort, are exact in float64.


class Measured(enum.Enum):
  """Which measurements of a client's training may be added up outside of the client.

  EXACT: Loss and accuracy, for a run without a privacy promise.
  NOISED: Measurements that get their own noise before anyone reads them.
  NOTHING: Nothing, not even a number of examples, because no noise covers it.
  """
  EXACT = 'exact'
  NOISED = 'noised'
  NOTHING = 'nothing'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside:
  """The values that a client's computation returns beside its update.

  Attributes:
    measured: The measurements of its training. The type of a client's result contains only the numbers requested.
    hidden: Whether the numbers are passed with the update's weight, for an aggregator that hides both; otherwise they
      are added up in the clear.
    weighs: Whether an update has its client's own weight; otherwise each update counts as one.
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
    high: The largest value.
    step: The resolution; multiples of it are exact, other values are rounded to the nearest.
    open_ended: Whether a value may lie outside of the range, or be NaN; the sum is then NaN. Otherwise such a value
      fails the round.
  """
  low: float
  high: float
  step: float
  open_ended: bool = False

  @property
  def largest(self) -> int:
    """The largest whole number: the count of steps from `low` to `high`."""
    return round((self.high - self.low) / self.step)


def whole(largest: float) -> Quantity:
  """Returns the quantity of counts up to `largest`."""
  return Quantity(low=0.0, high=float(largest), step=1.0)


def fixed_point(low: float, high: float, step: float, *, open_ended: bool = False) -> Quantity:
  """Returns a quantity; its step is doubled until its whole numbers need no more than 48 bits."""
  while (high - low) / step >= 2**_WHOLE_BITS:
    step *= 2
  return Quantity(low=low, high=high, step=step, open_ended=open_ended)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told:
  """The numbers that the clients of a run can report; everything here is public.

  Attributes:
    largest_weight: The largest weight of a client's update.
    quantities: The numbers for each kind of `Measured`, by name.
    summary: Computes the reported values from the sums over clients, float64 [], and the number of clients as
      `clients`: TensorFlow, in a graph or eager.
  """
  largest_weight: float
  quantities: Mapping[Measured, Mapping[str, Quantity]]
  summary: Callable[[Mapping[str, Any]], Mapping[str, Any]]
