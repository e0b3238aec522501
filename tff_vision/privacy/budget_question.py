"""A question about a privacy budget, as data; `tff_vision.privacy.budget_solver` answers it.

The module imports no numerical libraries, so that the command line can show its help without delay.
"""

import dataclasses

from tff_vision.configs import option, secure_config, validate

SAMPLINGS = ('poisson', 'fixed', 'shuffled', 'balls_in_bins')
UNITS = ('client', 'example')
_MOST = 10**12  # Of records and of rounds: accountants compute in float64, and search over the rounds.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
  """A budget question: two of target_epsilon, noise_multiplier and rounds are given, and the third is computed."""
  population: int = option.required('Clients (or examples of one silo) to draw from.')
  cohort_size: int = option.required('Expected clients in a round (or examples in a batch).')
  rounds: int | None = option.option(None, 'Rounds (or optimizer steps); left out, they are found.')
  noise_multiplier: float | None = option.option(
      None, 'Standard deviation of the noise over the clip norm; left out, it is found.')
  target_epsilon: float | None = option.option(None, 'The budget; left out, epsilon is found.')
  delta: float | None = option.option(None, 'The delta of (epsilon, delta); default population ** -1.1.')
  sampling: str = option.option('poisson', 'How a round draws its records.', choices=SAMPLINGS)
  unit: str = option.option('client', 'What one record is.', choices=UNITS)
  secure_clients_max: int | None = option.option(
      None, 'Rounds are secure sums of 2 to so many clients; left out, they are none.')

  def __post_init__(self):
    option.check_choices(self)
    validate.positive(population=self.population, cohort_size=self.cohort_size)
    if self.cohort_size > self.population:
      raise ValueError(f'cohort_size={self.cohort_size} exceeds population={self.population}.')
    asked = {name: getattr(self, name) for name in ('target_epsilon', 'noise_multiplier', 'rounds')}
    given = {name: value for name, value in asked.items() if value is not None}
    validate.positive(**given)
    if self.noise_multiplier is not None:
      validate.noise(noise_multiplier=self.noise_multiplier)
    validate.at_most(_MOST, population=self.population, rounds=self.rounds or 1)
    if self.secure_clients_max is not None:
      secure_config.check_clients_max(self.secure_clients_max)
      validate.at_most(_MOST, secure_clients_max=self.secure_clients_max)
    if len(given) != 2:
      shown = ', '.join(f'{name}={value!r}' for name, value in asked.items())
      raise ValueError('give two of target_epsilon, noise_multiplier and rounds, and the third is found; found '
                       f'{shown}.')
    chosen_delta(self.delta, self.population)
    if self.secure_clients_max is not None and (self.sampling, self.unit) != ('poisson', 'client'):
      raise ValueError(f'secure_clients_max={self.secure_clients_max} has no effect with sampling={self.sampling}, '
                       f'unit={self.unit}: it bounds the sizes of Poisson cohorts of clients.')

  @property
  def effective_delta(self) -> float:
    """The delta that the accountants use."""
    return default_delta(self.population) if self.delta is None else self.delta


def default_delta(population: int) -> float:
  """Returns population ** -1.1, the usual rule of thumb; it is below 1 / population."""
  return population ** -1.1


def chosen_delta(given: float | None, population: int) -> float:
  """Returns `given`, or the default where it is None.

  Raises:
    ValueError: The delta is too large to give a guarantee.
  """
  if given is None and population == 1:
    raise ValueError('delta is missing: a population of 1 has no default; choose one far below 1.')
  delta = default_delta(population) if given is None else given
  check_delta(delta, population)
  return delta


def check_delta(delta: float, population: int) -> None:
  """Raises ValueError unless delta is below 1 / population; a larger delta allows publishing one record at random."""
  validate.open_unit(delta=delta)
  if delta >= 1 / population:
    raise ValueError(f'delta={delta:g} is no promise for population={population}: it must be below '
                     f'1 / population = {1 / population:.3g}.')
