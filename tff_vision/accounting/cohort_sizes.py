"""The cohort sizes that a sampler may produce. They are fixed before a cohort is drawn."""

import dataclasses
import math

import numpy as np
from scipy import stats

from tff_vision import catalogue

_ABSURD = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """Bounds on the cohort size: a secure sum, for example, needs at least two clients and has an upper limit.

  The upper limit is set by the room in the secure sum's integers. A sampler enforces the bounds as a part of its draw.
  It is not allowed to look at drawn cohorts, refuse a run for their sizes and launch it again: this conditions the
  draw on the data, and no accountant covers that.

  Attributes:
    least: The fewest records in a round.
    most: The most records in a round; None: any number.
  """
  least: int = 0
  most: int | None = None

  def __post_init__(self):
    if self.least < 0 or self.most is not None and self.most < max(1, self.least):
      raise ValueError(f'a round cannot have between {self.least} and {self.most} records.')

  def bind(self, records: int) -> bool:
    """Returns whether a cohort drawn from `records` records can have a size that is not allowed."""
    return self.least > 0 or self.most is not None and self.most < records

  def first(self, order: np.ndarray, chosen: int) -> np.ndarray:
    """Returns the first `chosen` of `order`, or more or fewer of them so that their number is allowed.

    If `order` is uniformly random and independent of `chosen`, then the removed records are a uniformly random subset
    of the chosen ones, and the added records are a uniformly random subset of the others.
    """
    return order[:np.clip(chosen, self.least, self.most)]

  def delivered(self, clients: np.ndarray) -> np.ndarray:
    """Returns the clients whose updates the round uses, in order of delivery; none if too few clients deliver."""
    return clients[:0] if len(clients) < self.least else clients[:self.most]

  def describe(self) -> str:
    """Returns the description for a ledger; empty if every size is allowed."""
    parts = [f'at least {self.least}'] * (self.least > 0) + [f'at most {self.most}'] * (self.most is not None)
    return f', {" and ".join(parts)} a round' if parts else ''


def check(sizes: Sizes, *, expected: float, records: int, sampling: str) -> None:
  """Refuses settings whose cohorts would almost never have an allowed size.

  Args:
    expected: The (expected) cohort size in the settings.
    records: The number of records from which cohorts are drawn.
    sampling: As in `CohortConfig`.

  Raises:
    ValueError: The settings are refused; the message says which setting to change.
  """
  if sampling == 'allocation' and sizes.bind(records + 1):
    raise ValueError('sampling=allocation does not go with a secure sum: '
                     f'{catalogue.why_not("sampling", "allocation", catalogue.Trait.HIDES_UPDATES)}.')
  if sizes.most is not None and expected > sizes.most:
    raise ValueError(f'cohort_size={expected:g} exceeds secure_clients_max={sizes.most}: raise secure_clients_max or '
                     'lower cohort_size.')
  if expected < sizes.least:
    raise ValueError(f'cohort_size={expected:g} is too small for a secure sum, whose sum over one client would be its '
                     f'update: raise cohort_size to {sizes.least} or more.')
  if records < sizes.least:
    raise ValueError(f'a secure sum needs {sizes.least} clients in a round, and there are {records} to draw from.')
  if sampling != 'poisson':
    return
  outside = out_of_range(sizes, rate=expected / records, records=records)
  if outside > _ABSURD:
    raise ValueError(f'cohort_size={expected:g} is expected, but {100 * outside:.0f} % of Poisson cohorts would have '
                     f'fewer than {sizes.least} or more than secure_clients_max={sizes.most} clients: raise '
                     'secure_clients_max, or choose sampling=fixed.')


def check_cohort(sizes: Sizes, *, size: int, population: int, sampling: str) -> None:
  """Refuses a cohort of more clients than there are, and what `check` refuses.

  Raises:
    ValueError: The settings are refused; the message says which setting to change.
  """
  if size > population:
    raise ValueError(f'cohort_size={size} is larger than the population of {population} clients.')
  check(sizes, expected=size, records=population, sampling=sampling)


def out_of_range(sizes: Sizes, *, rate: float, records: int) -> float:
  """Returns the probability that a Poisson cohort has a size that is not allowed."""
  low = stats.binom.cdf(sizes.least - 1, records, rate) if sizes.least else 0.0
  high = 0.0 if sizes.most is None else stats.binom.sf(sizes.most, records, rate)
  return float(low + high)


def moved(sizes: Sizes, *, rate: float, fewest: int, most: int) -> tuple[float, float]:
  """Returns how one additional record changes a Poisson cohort whose size is bounded by `Sizes.first`.

  Args:
    rate: The probability with which each record is drawn.
    fewest: The fewest records that may be drawn, not counting the additional one.
    most: The most records that may be drawn, not counting the additional one.

  Returns:
    The probability that the additional record displaces another one if it comes (a maximum over `fewest` to `most`
    others), and the largest probability with which it comes in that case.
  """
  low = stats.binom.cdf(sizes.least - 1, fewest, rate) if sizes.least else 0.0
  high = 0.0 if sizes.most is None else stats.binom.sf(sizes.most - 1, most, rate)
  # The record is drawn, or added because too few were drawn.
  comes = rate + (1 - rate) * min(1.0, sizes.least / (fewest + 1))
  return min(1.0, math.fsum([low, high])), comes
