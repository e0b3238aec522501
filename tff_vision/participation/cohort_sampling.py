"""Which clients take part in a round: pure functions of (seed, round), so that a resumed run repeats them."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping

import numpy as np

from tff_vision import catalogue, configs, seeds
from tff_vision.accounting import accounting, cohort_sizes
from tff_vision.accounting.conditions import Sampling, Scheme
from tff_vision.participation import availability, device_rounds, late_arrivals


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoissonCohort:
  """Each client independently with probability `rate`; a cohort may be empty, unless `sizes` says otherwise.

  Attributes:
    secret: Determines cohorts instead of the seed, so that knowing the seed does not reveal them; None: use the seed.
    sizes: The allowed cohort sizes; if more or fewer clients are drawn, random ones are removed or added.
    optional: The number of clients, at the end of the list, that may not exist; which of them exist is secret. Rate and
      cost hold for any number of them.
    absent: The optional clients that do not exist.
  """
  population: int
  rate: float
  seed: int
  secret: bytes | None = dataclasses.field(default=None, repr=False)
  sizes: cohort_sizes.Sizes = cohort_sizes.Sizes()
  optional: int = 0
  absent: frozenset[int] = dataclasses.field(default=frozenset(), repr=False)

  def __call__(self, round_num: int) -> np.ndarray:
    """Returns the sorted client indices of round `round_num`."""
    return _drawn(np.arange(self.population), _uniform(self.population, self.seed, self.secret, round_num), self.rate,
                  self.sizes, self.absent)

  def releases(self, rounds: int, *, noise_multiplier: float) -> accounting.SampledGaussian:
    """Returns the noised sums over the cohorts of `rounds` rounds as releases, for accounting."""
    fewest = self.population - self.optional
    return accounting.SampledGaussian(rounds=rounds, cohort_size=self.rate * fewest, population=fewest,
                                      largest=self.population if self.optional else None,
                                      noise_multiplier=noise_multiplier, sampling='poisson', sizes=self.sizes)

  def describe(self) -> Sampling:
    """Returns the description of the sampling for a ledger."""
    return Sampling(Scheme.POISSON, f'rate {self.rate:g}{self.sizes.describe()}')


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundRobinCohort:
  """Clients in one random order: the next `size` in each round, starting again after the last one.

  The order never changes, so a client returns after `min_separation` rounds at the earliest. With a new order each
  time, it could return in the next round.
  """
  population: int
  size: int
  seed: int
  absent: frozenset[int] = dataclasses.field(default=frozenset(), repr=False)  # They keep their places in the order.

  def __call__(self, round_num: int) -> np.ndarray:
    """Returns the sorted client indices of round `round_num`."""
    order = np.random.default_rng(seeds.derive(self.seed, 'round_robin')).permutation(self.population)
    return _there(np.sort(order[(round_num * self.size + np.arange(self.size)) % self.population]), self.absent)

  @property
  def min_separation(self) -> int:
    """The least number of rounds from one turn of a client to its next."""
    return self.population // self.size

  def describe(self) -> Sampling:
    """Returns the description of the sampling for a ledger."""
    return Sampling(Scheme.ROUND_ROBIN, f'{self.min_separation} rounds between two turns')


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockPoissonCohort:
  """Blocks of clients in turn; each client of the round's block independently with probability `block_rate`.

  Attributes:
    rate: Expected fraction of the population in a round.
    secret: As in `PoissonCohort`; the blocks are public.
    sizes: As in `PoissonCohort`; only clients of the same block are added.
    optional: As in `PoissonCohort`.
    absent: As in `PoissonCohort`.
  """
  population: int
  rate: float
  num_blocks: int
  seed: int
  secret: bytes | None = dataclasses.field(default=None, repr=False)
  sizes: cohort_sizes.Sizes = cohort_sizes.Sizes()
  optional: int = 0
  absent: frozenset[int] = dataclasses.field(default=frozenset(), repr=False)

  def __post_init__(self):
    if self.block_rate > 1:
      raise ValueError(f'mf_bands={self.num_blocks} makes blocks smaller than the cohort: at most '
                       f'{int(1 / self.rate)} fit.')
    if self.population // self.num_blocks < self.sizes.least:
      raise ValueError(f'mf_bands={self.num_blocks} makes blocks of {self.population // self.num_blocks} clients, and '
                       f'a round needs {self.sizes.least}: lower mf_bands.')

  @property
  def block_rate(self) -> float:
    """The probability with which a client of the round's block takes part."""
    return self.rate * self.num_blocks

  def __call__(self, round_num: int) -> np.ndarray:
    """Returns the sorted client indices of round `round_num`."""
    block = _block(self.population, self.num_blocks, self.seed, round_num)
    return _drawn(block, _uniform(len(block), self.seed, self.secret, round_num), self.block_rate, self.sizes,
                  self.absent)

  def releases(self, rounds: int, *, noise_multiplier: float) -> accounting.SampledGaussian:
    """Returns the turns of one block within `rounds` rounds as releases, for accounting."""
    smallest = self.population // self.num_blocks
    if self.optional and self.sizes.bind(smallest):
      smallest = min(np.count_nonzero(_block(self.population, self.num_blocks, self.seed, number) < self.population
                                      - self.optional) for number in range(self.num_blocks))
    return accounting.SampledGaussian(
        rounds=math.ceil(rounds / self.num_blocks), cohort_size=self.block_rate * smallest,
        population=smallest, largest=-(-self.population // self.num_blocks), noise_multiplier=noise_multiplier,
        sampling='poisson', sizes=self.sizes)

  def describe(self) -> Sampling:
    """Returns the description of the sampling for a ledger."""
    return Sampling(Scheme.BLOCKS, f'poisson at rate {self.block_rate:g}{self.sizes.describe()}', self.num_blocks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AllocationCohort:
  """Each client in one round of each pass, drawn uniformly and independently: balls into bins.

  Attributes:
    rounds_a_pass: Number of rounds in a pass; the first pass starts in the first round.
    secret: As in `PoissonCohort`.
    absent: As in `PoissonCohort`.
  """
  population: int
  rounds_a_pass: int
  seed: int
  secret: bytes | None = dataclasses.field(default=None, repr=False)
  absent: frozenset[int] = dataclasses.field(default=frozenset(), repr=False)

  @property
  def rate(self) -> float:
    """The expected fraction of the population in a round."""
    return 1 / self.rounds_a_pass

  def __call__(self, round_num: int) -> np.ndarray:
    """Returns the sorted client indices of round `round_num`, from 1."""
    number, place = divmod(round_num - 1, self.rounds_a_pass)
    places = _uniform(self.population, self.seed, self.secret, number, use='allocation') * self.rounds_a_pass
    return _there(np.flatnonzero(places.astype(np.int64) == place), self.absent)

  def releases(self, rounds: int, *, noise_multiplier: float) -> accounting.SampledGaussian:
    """Returns the noised sums over the cohorts of `rounds` rounds as releases, for accounting."""
    return accounting.SampledGaussian(rounds=rounds, cohort_size=self.rate * self.population,
                                      population=self.population, noise_multiplier=noise_multiplier,
                                      sampling='balls_in_bins')

  def describe(self) -> Sampling:
    """Returns the description of the sampling for a ledger."""
    return Sampling(Scheme.ALLOCATION, f'each client to one of the {self.rounds_a_pass} rounds of a pass')


def _drawn(clients, uniform, rate, sizes, absent):
  """Returns the sorted clients with a number below `rate`; if too many or too few, those with the smallest numbers."""
  if absent:
    there = ~np.isin(clients, list(absent))
    clients, uniform = clients[there], uniform[there]
  chosen = np.flatnonzero(uniform < rate)
  if len(sizes.first(clients, len(chosen))) == len(chosen):
    return clients[chosen]  # The others need no order; most of a large population are others.
  return np.sort(clients[sizes.first(np.argsort(uniform, kind='stable'), len(chosen))])


def _there(clients, absent):
  return clients[~np.isin(clients, list(absent))] if absent else clients


def _uniform(size, seed, secret, round_num, use='cohort'):
  """Returns one pseudo-random number in [0, 1) for each client."""
  if secret is None:
    return np.random.default_rng(seeds.derive(seed, use, round_num)).random(size)
  stream = hashlib.shake_256(use.encode() + secret + round_num.to_bytes(8, 'big')).digest(8 * size)
  return (np.frombuffer(stream, np.uint64) >> np.uint64(11)) * 2.0**-53


def _block(population, num_blocks, seed, round_num):
  order = np.random.default_rng(seeds.derive(seed, 'cycle')).permutation(population)
  return np.sort(np.array_split(order, num_blocks)[round_num % num_blocks])


Cohort = Callable[[int], np.ndarray]

SAMPLINGS: Mapping[str, Callable[[int, int, int], Cohort]] = catalogue.Loaded('sampling')


def poisson(population: int, size: int, seed: int) -> Cohort:
  """Returns the sampler that draws each client independently."""
  return PoissonCohort(population=population, rate=size / population, seed=seed)


def fixed(population: int, size: int, seed: int) -> Cohort:
  """Returns the sampler that draws a fixed number of clients without replacement."""
  return FixedCohort(population=population, size=size, seed=seed)


def round_robin(population: int, size: int, seed: int) -> Cohort:
  """Returns the sampler that takes clients in a fixed order."""
  return RoundRobinCohort(population=population, size=size, seed=seed)


def allocation(population: int, size: int, seed: int) -> Cohort:
  """Returns the sampler that assigns each client to one round of each pass."""
  return AllocationCohort(population=population, rounds_a_pass=-(-population // size), seed=seed)


def build_cohort(config: configs.CohortConfig, *, population: int, seed: int, max_staleness: int | None = None,
                 sizes: cohort_sizes.Sizes = cohort_sizes.Sizes()) -> Cohort:  # noqa: B008  Frozen.
  """Returns the sampler that `config` names.

  Args:
    max_staleness: Late updates count in a later round, up to this many rounds later; None: they are dropped.
    sizes: The allowed cohort sizes. With simulated devices, no client delivers if too few would deliver.

  Raises:
    ValueError: The cohort is larger than the population or would almost never have an allowed size, or the availability
      trace is invalid.
  """
  cohort_sizes.check_cohort(sizes, size=config.cohort_size, population=population, sampling=config.sampling)
  if not config.simulated():
    sampler = SAMPLINGS[config.sampling](population, config.cohort_size, seed)
    return dataclasses.replace(sampler, sizes=sizes) if isinstance(sampler, PoissonCohort) else sampler
  settings = {'config': config, 'conditions': availability.build(config, population=population, seed=seed),
              'sampler_of': SAMPLINGS[config.sampling], 'population': population, 'seed': seed, 'sizes': sizes}
  if max_staleness is None:
    return device_rounds.Participation(**settings)
  return late_arrivals.LateArrivals(max_staleness=max_staleness, **settings)
