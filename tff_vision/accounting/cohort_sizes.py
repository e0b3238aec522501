"""The cohort sizes that a sampler may produce. They are fixed before a cohort is drawn."""

import dataclasses
import math

import numpy as np
from scipy import stats

from tff_vision import catalogue

_ABSURD = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """A secure sum, for one, serves between two clients and as many as its integers have room for.

  A sampler keeps the sizes by itself, as a part of its draw. Whoever looks at cohorts that were drawn and refuses a run
  for their sizes, so that it is launched again, conditions the draw on the data: nobody accounts for that.

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
    """Returns whether a cohort drawn from so many records can have a size that is not allowed."""
    return self.least > 0 or self.most is not None and self.most < records

  def first(self, order: np.ndarray, chosen: int) -> np.ndarray:
    """Returns the first `chosen` of `order`; so many more, or fewer, that the number is allowed.

    Where `order` is uniformly random and independent of how many were chosen, those left out, or taken in addition,
    are a uniformly random choice among the chosen, or among the others.
    """
    return order[:np.clip(chosen, self.least, self.most)]

  def delivered(self, clients: np.ndarray) -> np.ndarray:
    """Returns those of `clients`, in the order in which they deliver, whom the round takes: nobody if too few do."""
    return clients[:0] if len(clients) < self.least else clients[:self.most]

  def describe(self) -> str:
    """Returns the words for a ledger, empty where any size may be."""
    parts = [f'at least {self.least}'] * (self.least > 0) + [f'at most {self.most}'] * (self.most is not None)
    return f', {" and ".join(parts)} a round' if parts else ''


def check(sizes: Sizes, *, expected: float, records: int, sampling: str) -> None:
  """Refuses cohorts that would hardly ever have the size that they are drawn for.

  Args:
    expected: The (expected) size, from the settings.
    records: To draw from.
    sampling: As `CohortConfig` has it.

  Raises:
    ValueError: The sentence names what to change.
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


def out_of_range(sizes: Sizes, *, rate: float, records: int) -> float:
  """Returns the probability that a Poisson cohort has a size that is not allowed."""
  low = stats.binom.cdf(sizes.least - 1, records, rate) if sizes.least else 0.0
  high = 0.0 if sizes.most is None else stats.binom.sf(sizes.most, records, rate)
  return float(low + high)


def moved(sizes: Sizes, *, rate: float, fewest: int, most: int) -> tuple[float, float]:
  """Returns how one record more moves a Poisson cohort whose size is kept by `Sizes.first`.

  Args:
    rate: With which each record is drawn.
    fewest: Of the records that may be drawn, apart from the one that is added.
    most: The same.

  Returns:
    The probability that one record's coming displaces another one (all that have `fewest` to `most` others), and the
    largest probability with which it comes then.
  """
  low = stats.binom.cdf(sizes.least - 1, fewest, rate) if sizes.least else 0.0
  high = 0.0 if sizes.most is None else stats.binom.sf(sizes.most - 1, most, rate)
  # Drawn, or taken in addition to too few.
  comes = rate + (1 - rate) * min(1.0, sizes.least / (fewest + 1))
  return min(1.0, math.fsum([low, high])), comes
