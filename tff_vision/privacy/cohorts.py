"""Which clients take part in a round: pure functions of (seed, round), so that a resumed run repeats them."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from tff_vision import configs, seeds
from tff_vision.privacy import accounting


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoissonCohort:
  """Each client independently with probability `rate`; a cohort may be empty."""
  population: int
  rate: float
  seed: int

  def __call__(self, round_num: int) -> np.ndarray:
    """Returns the sorted client indices of round `round_num`."""
    rng = np.random.default_rng(seeds.derive(self.seed, 'cohort', round_num))
    return np.flatnonzero(rng.random(self.population) < self.rate)

  def releases(self, rounds: int, *, noise_multiplier: float) -> accounting.SampledGaussian:
    """Returns what noised sums over the cohorts of `rounds` rounds are, for accounting."""
    return accounting.SampledGaussian(rounds=rounds, cohort_size=self.rate * self.population,
                                      population=self.population, noise_multiplier=noise_multiplier,
                                      sampling='poisson')


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedCohort:
  """Exactly `size` clients, uniformly without replacement."""
  population: int
  size: int
  seed: int

  def __call__(self, round_num: int) -> np.ndarray:
    """Returns the sorted client indices of round `round_num`."""
    rng = np.random.default_rng(seeds.derive(self.seed, 'cohort', round_num))
    return np.sort(rng.choice(self.population, self.size, replace=False))


Cohort = Callable[[int], np.ndarray]

SAMPLINGS: Mapping[str, Callable[[int, int, int], Cohort]] = {
    'poisson': lambda population, size, seed: PoissonCohort(
        population=population, rate=size / population, seed=seed),
    'fixed': lambda population, size, seed: FixedCohort(population=population, size=size, seed=seed),
}


def build_cohort(config: configs.CohortConfig, *, population: int, seed: int) -> Cohort:
  """Returns the sampler that `config` names.

  Raises:
    ValueError: The cohort is larger than the population.
  """
  if config.cohort_size > population:
    raise ValueError(f'cohort_size={config.cohort_size} is larger than the population of {population} clients.')
  return SAMPLINGS[config.sampling](population, config.cohort_size, seed)
