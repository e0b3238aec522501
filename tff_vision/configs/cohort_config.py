"""The section of an experiment about who takes part in a round; use it as `configs.CohortConfig`."""

import dataclasses

from tff_vision.configs import validate

SAMPLINGS = ('poisson', 'fixed', 'round_robin', 'allocation')


@dataclasses.dataclass(frozen=True, kw_only=True)
class CohortConfig:
  """Which clients take part in a round; docs/reference/participation.md explains what happens to a cohort.

  Everything from `availability_trace` on simulates devices that come and go; by default all are always there, and
  all that are asked deliver.

  Attributes:
    sampling: `poisson`: each client independently with probability cohort_size / population; `fixed`:
      exactly cohort_size clients, uniformly without replacement; `round_robin`: all clients in one random order,
      the next cohort_size in each round; `allocation`: the rounds come in passes of population / cohort_size, rounded
      up, and each client takes part in one round of each pass, drawn uniformly and independently.
    cohort_size: The (expected) number of clients in a round.
    availability_trace: CSV file with the columns client (number from 0), join, leave: when clients are there.
    arrival_rounds: Clients join at random within the first so many rounds; 0: all are there from the start.
    stay_rounds: A client stays for a random number of rounds, this one on average; 0: nobody leaves.
    day_rounds: A day of day/night waves has so many rounds; 0: no waves.
    day_share: Share of the day during which a client can be reached. Read if day_rounds is not 0.
    dropout_before: Probability that a client that is asked does not begin.
    dropout_after: Probability that a client that has trained does not deliver.
    over_selection: cohort_size times this many are asked; the round takes the first cohort_size to deliver.
    round_deadline: Nothing counts that arrives later, in units of the median client's time; None waits for all.
    speed_spread: Deviation of the logarithm of clients' times. Read with over_selection or round_deadline.
  """
  sampling: str = 'fixed'
  cohort_size: int = 10
  availability_trace: str | None = None
  arrival_rounds: int = 0
  stay_rounds: float = 0.0
  day_rounds: int = 0
  day_share: float = 0.5
  dropout_before: float = 0.0
  dropout_after: float = 0.0
  over_selection: float = 1.0
  round_deadline: float | None = None
  speed_spread: float = 0.5

  def __post_init__(self):
    validate.one_of(SAMPLINGS, sampling=self.sampling)
    validate.positive(cohort_size=self.cohort_size)
    validate.non_negative(arrival_rounds=self.arrival_rounds, stay_rounds=self.stay_rounds,
                          day_rounds=self.day_rounds, speed_spread=self.speed_spread)
    validate.open_unit(day_share=self.day_share)
    validate.fraction(dropout_before=self.dropout_before, dropout_after=self.dropout_after)
    if self.round_deadline is not None:
      validate.positive(round_deadline=self.round_deadline)
    if not 1 <= self.over_selection < float('inf'):
      raise ValueError(f'over_selection must be 1 or more, found {self.over_selection!r}.')
    for name, reader in ('day_share', 'day_rounds'), ('speed_spread', 'over_selection or round_deadline'):
      if name in self.simulated() and not any(read in self.simulated() for read in reader.split(' or ')):
        raise ValueError(f'{name}={getattr(self, name)!r} has no effect without {reader}.')
    if self.sampling == 'allocation' and self.simulated():
      raise ValueError(f'{self.simulated()[0]}={getattr(self, self.simulated()[0])!r} does not go with '
                       'sampling=allocation: devices that come and go do not take part once in each pass.')
    if self.over_selection > 1 and self.sampling == 'poisson':
      raise ValueError(f'over_selection={self.over_selection} closes a round after cohort_size updates, but '
                       'sampling=poisson makes cohorts of any size; choose sampling=fixed.')

  def simulated(self) -> list[str]:
    """Returns the names of the fields that make devices come and go: those that differ from their defaults."""
    return [field.name for field in dataclasses.fields(self)
            if field.name not in ('sampling', 'cohort_size') and getattr(self, field.name) != field.default]
