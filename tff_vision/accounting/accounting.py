"""The privacy cost of a run of noised sums: its event, and epsilon by two accountants. No TensorFlow.

Every round releases sum(clipped records) + N(0, (noise_multiplier * clip)^2) over a cohort. A record is one client's
update or one example's gradient, depending on the privacy unit. The sampling scheme determines the event and the
neighbouring relation:

* `poisson`: each record independently with probability cohort_size / population; add or remove one record. If cohort
  sizes are bounded, the event is the one in `events`.
* `fixed`: cohort_size records uniformly without replacement. The size is public, so the relation is replacing one
  record, which moves a clipped sum by 2 * clip. Renyi accounting only: no tight privacy loss distribution of its
  composition is known (Lebeda et al. 2024, arXiv:2405.20769).
* `balls_in_bins`: passes over the records. In each pass, every record is assigned to one round, uniformly and
  independently (see `allocation`); add or remove one record.
* `shuffled`: passes over the records in batches, each record once per pass. No amplification is claimed: a record costs
  one plain Gaussian release per pass; zero out one record.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import dp_accounting
import numpy as np
from dp_accounting import rdp

from tff_vision.accounting import cohort_sizes, events, gdp
from tff_vision.accounting.conditions import Accountant, Relation
from tff_vision.configs import validate

RELATIONS = {'poisson': Relation.ADD_OR_REMOVE_ONE, 'fixed': Relation.REPLACE_ONE, 'shuffled': Relation.ZERO_OUT_ONE,
             'balls_in_bins': Relation.ADD_OR_REMOVE_ONE}
FINE_INTERVAL = 1e-4
COARSE_INTERVAL = 1e-3
_LARGE = 20.0
_MOST_INTERVALS = 2e5  # Grid intervals from 0 to epsilon; a larger epsilon gets the same relative precision.
_WIDEST_INTERVAL = 500.0  # dp_accounting takes the exponential of an interval.

QUICK_ORDERS = (1.25, 1.5, 1.75, 2.5, 3.5, *range(2, 13), *range(14, 64, 4), 96, 128, 256)
_REPLACE_ONE = dp_accounting.NeighboringRelation.REPLACE_ONE
_ADD_OR_REMOVE_ONE = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledGaussian:
  """`rounds` noised sums over sampled cohorts.

  Attributes:
    rounds: Number of releases (optimizer steps, if a record is an example).
    cohort_size: The (expected) number of records in a round.
    population: The number of records from which cohorts are drawn.
    noise_multiplier: Standard deviation of the noise on the sum, over the clip norm.
    sampling: A key of RELATIONS.
    sizes: For `poisson`: the cohort sizes that the sampler allows.
    largest: For `poisson`: the largest population, if it differs between rounds (`population` is then the smallest);
      None: it is the same in all rounds.
  """
  rounds: int
  cohort_size: float
  population: int
  noise_multiplier: float
  sampling: str
  sizes: cohort_sizes.Sizes = cohort_sizes.Sizes()
  largest: int | None = None

  def __post_init__(self):
    validate.one_of(RELATIONS, sampling=self.sampling)
    validate.positive(rounds=self.rounds, cohort_size=self.cohort_size, population=self.population)
    validate.non_negative(noise_multiplier=self.noise_multiplier)
    if self.cohort_size > self.population:
      raise ValueError(f'cohort_size={self.cohort_size} exceeds population={self.population}.')

  @property
  def relation(self) -> Relation:
    """The neighbouring relation of the event: how two neighbouring data sets differ."""
    return RELATIONS[self.sampling]

  def event(self) -> dp_accounting.DpEvent:
    """Returns the whole run's event, under the relation that `relation` names."""
    if self.sampling == 'poisson':
      return dp_accounting.SelfComposedDpEvent(self._poisson_round(), self.rounds)
    if self.sampling == 'fixed':
      once = dp_accounting.SampledWithoutReplacementDpEvent(
          self.population, int(self.cohort_size), dp_accounting.GaussianDpEvent(self.noise_multiplier / 2))
      return dp_accounting.SelfComposedDpEvent(once, self.rounds)
    if self.sampling == 'balls_in_bins':
      # A pass that has started is charged in full.
      once = events.AllocatedGaussianDpEvent(self.steps_a_pass, self.noise_multiplier)
      return dp_accounting.SelfComposedDpEvent(once, math.ceil(self.rounds / self.steps_a_pass))
    passes = math.ceil(self.rounds * self.cohort_size / self.population)
    return dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(self.noise_multiplier), passes)

  @property
  def steps_a_pass(self) -> int:
    """The fewest rounds for one pass over the population, with at most cohort_size records per round."""
    return math.ceil(self.population / self.cohort_size * (1 - 1e-12))

  def _poisson_round(self):
    rate, largest = self.cohort_size / self.population, self.largest or self.population
    # A neighbouring data set has one more record.
    if self.sizes.bind(largest + 1):
      return events.TruncatedPoissonGaussianDpEvent(rate, self.noise_multiplier, self.sizes, self.population, largest)
    return dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(self.noise_multiplier))

  def epsilon(self, delta: float, *, fine: bool = False) -> float:
    """Returns the smaller epsilon of the two accountants; unless `fine`, a quick one, about 0.1 % to 1 % larger."""
    if self.sampling == 'fixed':
      orders = None if fine else QUICK_ORDERS
      renyi, once = _one_fixed_round(self.population, int(self.cohort_size), self.noise_multiplier, orders)
      return float(rdp.compute_epsilon(renyi, self.rounds * once, delta)[0])
    epsilon, _ = tightest(self.event(), delta, self.relation, FINE_INTERVAL if fine else COARSE_INTERVAL)
    return epsilon


def epsilon_rdp(event: dp_accounting.DpEvent, delta: float, relation: Relation = Relation.ADD_OR_REMOVE_ONE,
                orders: tuple[float, ...] | None = None) -> float:
  """Returns epsilon by Renyi differential privacy, at the default orders of dp_accounting unless others are given."""
  return renyi((event,), relation, orders)(delta)


def renyi(runs: tuple[dp_accounting.DpEvent, ...], relation: Relation = Relation.ADD_OR_REMOVE_ONE,
          orders: tuple[float, ...] | None = None) -> Callable[[float], float]:
  """Returns epsilon as a function of delta; it holds for each of the events `runs`."""
  accountants = [events.RdpAccountant(orders, neighboring_relation=_accounted(relation)).compose(event)
                 for event in runs]
  divergences = np.max([accountant.rdp for accountant in accountants], axis=0)
  return lambda delta: float(rdp.compute_epsilon(accountants[0].orders, divergences, delta)[0])


@functools.lru_cache(maxsize=64)
def epsilon_pld(event: dp_accounting.DpEvent, delta: float, relation: Relation = Relation.ADD_OR_REMOVE_ONE,
                interval: float = FINE_INTERVAL) -> float | None:
  """Returns epsilon by privacy loss distributions (an upper bound); None if no distribution is known.

  Args:
    event: The event of the whole run.
    delta: The delta of (epsilon, delta).
    relation: A value of RELATIONS.
    interval: Discretisation of the privacy loss; smaller is tighter and slower. It is widened if epsilon is so large
      that the distribution would take minutes.
  """
  if relation == Relation.REPLACE_ONE:
    return None
  accountant = _loss_distribution(event, delta, relation, interval)
  return float(accountant.get_epsilon(delta)) if accountant else math.inf


def tightest(event: dp_accounting.DpEvent, delta: float, relation: Relation = Relation.ADD_OR_REMOVE_ONE,
             interval: float = FINE_INTERVAL) -> tuple[float, Accountant]:
  """Returns the smaller of two upper bounds on epsilon, and its accountant.

  The Renyi bound is smaller where the distributions end: below a delta of about 1e-15, and at a very large epsilon.
  """
  by_loss = epsilon_pld(event, delta, relation, interval)
  if by_loss is not None and by_loss < _LARGE and math.isfinite(by_loss):
    return by_loss, Accountant.PLD
  renyi = epsilon_rdp(event, delta, relation)
  return (renyi, Accountant.RDP) if by_loss is None or renyi < by_loss else (by_loss, Accountant.PLD)


def profile(runs: tuple[dp_accounting.DpEvent, ...], delta: float, relation: Relation, places: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns (epsilons, upper bounds on delta at them) by privacy loss distributions; None if these cannot be used.

  Args:
    runs: The bounds hold for each of these events.
    delta: The curve ends near a thousandth of this delta.
    places: Positions of the epsilons on the curve: 0 is epsilon 0, and 1 is the end of the curve.
  """
  ends, accountants = [], [_loss_distribution(event, delta, relation, FINE_INTERVAL) for event in runs]
  for accountant in accountants:
    known = (accountant.get_epsilon(least) for least in (1e-3 * delta, delta)) if accountant else ()
    end = next(filter(math.isfinite, known), None)
    if end is None:
      return None
    ends.append(end)
  epsilons = max(*ends, 1e-6) * places
  return epsilons, np.clip(np.max([accountant.deltas(epsilons) for accountant in accountants], axis=0), 0.0, 1.0)


@functools.lru_cache(maxsize=4)
def _loss_distribution(event, delta, relation, interval):
  """Returns an accountant that has composed `event`; None if its loss has no known bound, or is too large for one."""
  interval = max(interval, epsilon_rdp(event, delta, relation, QUICK_ORDERS) / _MOST_INTERVALS)
  if not interval < _WIDEST_INTERVAL:
    return None
  try:
    return events.PldAccountant(value_discretization_interval=interval).compose(event)
  except ValueError:  # Rounding errors of next to no noise, whose deltas do not fall as dp_accounting needs it.
    return None


def replacement_epsilon(releases: SampledGaussian, delta: float) -> float:
  """Returns epsilon for replacing one record by another; any change of one client's data is such a replacement.

  `poisson`: a removal, then an addition: 2 e at (1 + exp(e)) d, with the best e = epsilon(d) that meets delta.
  `shuffled`: sensitivity 2 * clip, in closed form. `fixed` is already accounted under replacement.
  """
  if releases.sampling == 'fixed':
    return releases.epsilon(delta)
  if releases.noise_multiplier == 0:
    return math.inf
  if releases.sampling == 'shuffled':
    return gdp.epsilon(2 * math.sqrt(releases.event().count) / releases.noise_multiplier, delta)
  accountant = _loss_distribution(releases.event(), delta, releases.relation, COARSE_INTERVAL)
  best = math.inf
  if accountant is None:
    return best
  for log_delta in math.log(delta) - np.linspace(0.7, 18, 60):
    epsilon = accountant.get_epsilon(math.exp(log_delta))
    if log_delta + math.log1p(math.exp(min(epsilon, 700.0))) <= math.log(delta):
      best = min(best, 2 * epsilon)
  return float(best)


def twice(epsilon: float, delta: float) -> tuple[float, float]:
  """Returns the (epsilon, delta) for two successive changes, such as replacing a record, given that for one change."""
  return 2 * epsilon, delta * (1 + math.exp(min(epsilon, 700.0)))


@functools.lru_cache
def _one_fixed_round(population, cohort_size, noise_multiplier, orders):
  """Returns the Renyi orders and divergences of one round; the divergences of a run are `rounds` times as large."""
  accountant = rdp.RdpAccountant(orders, neighboring_relation=_REPLACE_ONE)
  accountant.compose(dp_accounting.SampledWithoutReplacementDpEvent(
      population, cohort_size, dp_accounting.GaussianDpEvent(noise_multiplier / 2)))
  return accountant.orders, accountant.rdp


def _accounted(relation):
  # Zeroing out one record in a fixed schedule moves the sum by clip, like adding or removing it.
  return _REPLACE_ONE if relation == Relation.REPLACE_ONE else _ADD_OR_REMOVE_ONE
