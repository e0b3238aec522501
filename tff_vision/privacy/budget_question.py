"""A question about a privacy budget, as data; `tff_vision.privacy.budget_solver` answers it.

Light on purpose: a command line that only shows its help must not wait for numerical libraries.
"""

import dataclasses

from tff_vision.configs import validate

SAMPLINGS = ('poisson', 'fixed', 'shuffled', 'balls_in_bins')
UNITS = ('client', 'example')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
  """Two of target_epsilon, noise_multiplier and rounds are given; the third is asked for.

  Attributes:
    population: Records to draw from: clients, or the examples of one silo, as `unit` says.
    cohort_size: The (expected) number of records in one round: clients, or a batch of examples.
    rounds: Federated rounds, or optimizer steps where the unit is an example.
    noise_multiplier: Standard deviation of the noise on a sum, over the clip norm.
    target_epsilon: The budget.
    delta: The delta of (epsilon, delta); None means population ** -1.1.
    sampling: How a round's records are drawn, see `tff_vision.accounting.accounting`.
    unit: What one record is.
    secure_clients_max: The clients of a round are added up in a secure sum of at most so many, and at least two;
      None: they are not.
  """
  population: int
  cohort_size: int
  rounds: int | None = None
  noise_multiplier: float | None = None
  target_epsilon: float | None = None
  delta: float | None = None
  sampling: str = 'poisson'
  unit: str = 'client'
  secure_clients_max: int | None = None

  def __post_init__(self):
    validate.one_of(SAMPLINGS, sampling=self.sampling)
    validate.one_of(UNITS, unit=self.unit)
    validate.positive(population=self.population, cohort_size=self.cohort_size)
    if self.cohort_size > self.population:
      raise ValueError(f'cohort_size={self.cohort_size} exceeds population={self.population}.')
    asked = {name: getattr(self, name) for name in ('target_epsilon', 'noise_multiplier', 'rounds')}
    given = {name: value for name, value in asked.items() if value is not None}
    validate.positive(**given)
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
    """The delta that is accounted for."""
    return default_delta(self.population) if self.delta is None else self.delta


def default_delta(population: int) -> float:
  """Returns population ** -1.1, the field's rule of thumb; below 1 / population."""
  return population ** -1.1


def chosen_delta(given: float | None, population: int) -> float:
  """Returns `given`, or the default where it is None.

  Raises:
    ValueError: It promises nothing.
  """
  if given is None and population == 1:
    raise ValueError('delta is missing: a population of 1 has no default; choose one far below 1.')
  delta = default_delta(population) if given is None else given
  check_delta(delta, population)
  return delta


def check_delta(delta: float, population: int) -> None:
  """Raises ValueError unless delta is below 1 / population: above it, publishing one record at random would pass."""
  validate.open_unit(delta=delta)
  if delta >= 1 / population:
    raise ValueError(f'delta={delta:g} is no promise for population={population}: it must be below '
                     f'1 / population = {1 / population:.3g}.')
