"""The configuration of participation: how the clients of a round are chosen."""

import dataclasses

from tff_vision.configs import compatibility, option, validate

_AVAILABILITY = 'Availability of clients'


@dataclasses.dataclass(frozen=True, kw_only=True)
class CohortConfig:
  """Which clients take part in a round; docs/reference/participation.md explains what happens to a cohort.

  All fields from `availability_trace` on simulate devices that come and go. By default all devices are always
  available, and all devices of a cohort deliver their updates.
  """
  sampling: str = option.option('fixed', 'How the clients of a round are drawn: docs/reference/participation.md.')
  cohort_size: int = option.option(10, 'Clients in a round; the expected number with poisson.')
  availability_trace: str | None = option.option(
      None, 'CSV file with the columns client (number from 0), join, leave: when clients are there.',
      topic=_AVAILABILITY)
  arrival_rounds: int = option.option(
      0, 'Clients join at random within the first so many rounds; 0: all are there from the start.',
      topic=_AVAILABILITY)
  stay_rounds: float = option.option(
      0.0, 'Mean number of rounds that a client stays; 0: for ever.', topic=_AVAILABILITY)
  day_rounds: int = option.option(0, 'Rounds in a day of day/night waves; 0: no waves.', topic=_AVAILABILITY)
  day_share: float = option.option(
      0.5, 'Share of the day during which a client can be reached. Read if day_rounds is not 0.', topic=_AVAILABILITY)
  dropout_before: float = option.option(0.0, 'Probability that a client asked does not begin.')
  dropout_after: float = option.option(0.0, 'Probability that a client that trained does not deliver.')
  over_selection: float = option.option(
      1.0, 'So many times cohort_size are asked; the round takes the first cohort_size to deliver.')
  round_deadline: float | None = option.option(
      None, 'Nothing counts that arrives later, in units of the median client\'s time; not given, all is waited for.')
  speed_spread: float = option.option(
      0.5, 'Deviation of the logarithm of clients\' times. Read with over_selection or round_deadline.')

  def __post_init__(self):
    option.check_choices(self)
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
    compatibility.check(self)

  def simulated(self) -> list[str]:
    """Returns the names of the fields that make devices come and go: those that differ from their defaults."""
    return [name for name in option.changed(self) if name not in ('sampling', 'cohort_size')]
