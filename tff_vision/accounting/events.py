"""Privacy events that the pinned dp-accounting lacks, and accountants that support them.

**Poisson cohorts of bounded size** (`TruncatedPoissonGaussianDpEvent`). Each record is drawn with probability q. If
fewer than `least` or more than `most` records are drawn, uniformly random other records are added, or random drawn
records are removed (`cohort_sizes.Sizes.first`). Let D be D' plus a record x, and T the records of D' that are drawn.
Given T, the release over D equals the release over D' if x is not in the cohort. If x is in the cohort, then

* x is added, if least <= |T| < most: the sum moves by one clip, and x is in the cohort with probability q;
* x replaces another record y, if |T| < least or |T| >= most: the sums are those of A + {x} and A + {y} for the same A,
  so they differ by at most two clips. x is in the cohort with probability q most / (|T| + 1) if too many records are
  drawn, and q + (1 - q) (least - |T|) / (n' - |T| + 1) if too few of n' records are drawn.

The hockey-stick divergence is jointly convex, so the total divergence is at most the mean over T, in both directions.
This is a mixture, with a public label, of a Poisson-sampled Gaussian with probability 1 - w and one of twice the
sensitivity with probability w = P[|T| < least or |T| >= most]. w and the second rate are the largest over the numbers
of records that the run's data and its neighbours have. (Without `least` this is the truncated sampling of
arXiv:2508.15089.) Without bounds, w = 0, and the event is that of dp-accounting.

**Random allocation** (`AllocatedGaussianDpEvent`): see `allocation`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import dp_accounting
import numpy as np
from dp_accounting import pld, rdp
from dp_accounting.pld import pld_pmf, privacy_loss_distribution
from scipy import special

from tff_vision.accounting import allocation, cohort_sizes

_TAIL = 9.7  # Standard deviations; the probability beyond is less than exp(-50).
_LARGEST_EXPONENT = 700.0  # A float64 has room for its exponential; a smaller one makes the bound on delta larger.
_LEAST_ALLOCATED_NOISE = 0.05  # Below this noise, ratios of densities do not fit into float64.
_ADD_OR_REMOVE_ONE = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE


@dataclasses.dataclass(frozen=True)
class TruncatedPoissonGaussianDpEvent(dp_accounting.DpEvent):
  """A Gaussian sum over a Poisson cohort of bounded size.

  Attributes:
    sampling_probability: The probability with which each record is drawn.
    noise_multiplier: Standard deviation over the norm of one record.
    sizes: Bounds on the cohort size.
    fewest: The fewest records that the data may have.
    most: The most records that the data may have.
  """
  sampling_probability: float
  noise_multiplier: float
  sizes: cohort_sizes.Sizes
  fewest: int
  most: int

  def components(self) -> list[tuple[float, float, float]]:
    """Returns (weight, sampling probability, noise multiplier) of each Poisson-sampled Gaussian in the mixture."""
    # A neighbouring data set has one record fewer, or one more.
    displaced, comes = cohort_sizes.moved(self.sizes, rate=self.sampling_probability, fewest=self.fewest - 1,
                                          most=self.most)
    mixed = [(1 - displaced, self.sampling_probability, self.noise_multiplier),
             (displaced, comes, self.noise_multiplier / 2)]
    return [component for component in mixed if component[0]]


@dataclasses.dataclass(frozen=True)
class AllocatedGaussianDpEvent(dp_accounting.DpEvent):
  """Gaussian sums at all steps of a pass; each record is in one of the sums.

  Attributes:
    steps: Number of steps in a pass.
    noise_multiplier: Standard deviation over the norm of one record.
  """
  steps: int
  noise_multiplier: float


class PldAccountant(pld.PLDAccountant):
  """An accountant that uses privacy loss distributions."""

  def deltas(self, epsilons: np.ndarray) -> np.ndarray:
    """Returns `get_delta` for many non-negative epsilons at once."""
    if self._contains_non_dp_event:
      return np.ones(len(epsilons))
    return np.maximum(*(_deltas(pmf.to_dense_pmf(), epsilons) for pmf in (self._pld._pmf_remove, self._pld._pmf_add)))

  def _maybe_compose(self, event, count, do_compose):
    event = _where_told(event)
    if do_compose and self.neighboring_relation == _ADD_OR_REMOVE_ONE and _is_sampled_gaussian(event):
      once = _sampled_losses(event, self._value_discretization_interval)
      self._pld = self._pld.compose(once.self_compose(count))
      return None
    if type(event) not in _ONE_ROUND:
      return super()._maybe_compose(event, count, do_compose)
    if self.neighboring_relation != _ADD_OR_REMOVE_ONE:
      return self.CompositionErrorDetails(event, 'neighboring_relation must be ADD_OR_REMOVE_ONE.')
    if do_compose and event.noise_multiplier == 0:
      self._contains_non_dp_event = True
    elif do_compose:
      once = distribution(*_ONE_ROUND[type(event)](event), self._value_discretization_interval)
      self._pld = self._pld.compose(once.self_compose(count))
    return None


class RdpAccountant(rdp.RdpAccountant):
  """An accountant that uses Renyi differential privacy."""

  def _maybe_compose(self, event, count, do_compose):
    event = _where_told(event)
    if do_compose and self.neighboring_relation == _ADD_OR_REMOVE_ONE and _is_sampled_gaussian(event):
      self._rdp = self._rdp + count * _sampled_rdp(event, tuple(self._orders))
      return None
    if type(event) not in _ONE_ROUND:
      return super()._maybe_compose(event, count, do_compose)
    if self.neighboring_relation != _ADD_OR_REMOVE_ONE:
      return self.CompositionErrorDetails(event, 'neighboring_relation must be ADD_OR_REMOVE_ONE.')
    if do_compose and event.noise_multiplier == 0:
      self._rdp = self._rdp + np.inf
    elif do_compose and isinstance(event, AllocatedGaussianDpEvent):
      self._rdp = self._rdp + count * allocation.renyi(event.steps, event.noise_multiplier, tuple(self._orders))
    elif do_compose:
      self._rdp = self._rdp + count * _mixed_rdp(event.components(), self._orders)
    return None


@dataclasses.dataclass(frozen=True)
class Curve:
  """A hockey-stick divergence, as a function of epsilon.

  Attributes:
    delta: Maps an array of epsilons to the divergences at these epsilons.
    lower: The smallest relevant privacy loss.
    upper: The largest privacy loss; any loss beyond it counts as infinite.
  """
  delta: Callable[[np.ndarray], np.ndarray]
  lower: float
  upper: float


def _is_sampled_gaussian(event):
  """Whether this is a round whose cost is slow to compute; a run asks for it after every round."""
  return (isinstance(event, dp_accounting.PoissonSampledDpEvent) and event.sampling_probability > 0
          and isinstance(event.event, dp_accounting.GaussianDpEvent) and event.event.noise_multiplier > 0)


@functools.lru_cache(maxsize=64)
def _sampled_rdp(event, orders):
  """Returns the Renyi divergences of one round at `orders`."""
  try:
    found = rdp.RdpAccountant(orders).compose(event).rdp
  except ValueError:  # Rounding errors of a noise of millions. Without sampling a round costs no less, and little.
    found = rdp.RdpAccountant(orders).compose(event.event).rdp
  return np.maximum(found, 0.0)  # Rounding errors of a large noise leave some a little below 0.


@functools.lru_cache(maxsize=8)
def _sampled_losses(event, interval):
  """Returns the privacy loss distribution of one round."""
  return privacy_loss_distribution.from_gaussian_mechanism(
      standard_deviation=event.event.noise_multiplier, value_discretization_interval=interval,
      sampling_prob=event.sampling_probability)


def _where_told(event):
  """Returns the event to account for; with almost no noise, an event that reveals the step, which costs no less."""
  if isinstance(event, AllocatedGaussianDpEvent) and event.noise_multiplier < _LEAST_ALLOCATED_NOISE:
    return dp_accounting.GaussianDpEvent(event.noise_multiplier)
  return event


def distribution(removed: Curve, added: Curve, interval: float) -> privacy_loss_distribution.PrivacyLossDistribution:
  """Returns the distribution on a grid that dominates two curves: arXiv:2207.04380, Algorithm 1.

  Args:
    removed: The curve of data with a record against data without it.
    added: The curve of data without the record against data with it.
    interval: The grid interval.
  """
  def dominating(curve):
    first, last = math.floor(curve.lower / interval), math.ceil(curve.upper / interval)
    found = curve.delta(np.arange(first, last + 1) * interval)
    # Rounding errors near 1 must not make a curve rise, so use the smallest non-increasing curve above it.
    found = np.clip(np.maximum.accumulate(found[::-1])[::-1], 0.0, 1.0)
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(interval, first, last, found)

  return privacy_loss_distribution.PrivacyLossDistribution(dominating(removed), dominating(added))


def _deltas(pmf, epsilons):
  losses = (pmf._lower_loss + np.arange(len(pmf._probs))) * pmf._discretization
  first = np.searchsorted(losses, 0.0, side='right')
  losses, mass = losses[first:], pmf._probs[first:]
  upper, lower = (np.append(np.cumsum(part[::-1])[::-1], 0.0) for part in (mass, mass * np.exp(-losses)))
  at = np.searchsorted(losses, epsilons, side='right')
  return pmf._infinity_mass + upper[at] - np.exp(np.minimum(epsilons, _LARGEST_EXPONENT)) * lower[at]


def _mixture(event):
  """Returns the curves of a mixture whose component is public: their deltas are the mean of the components' deltas."""
  def mean(curve):
    parts = [(weight, curve(rate, noise)) for weight, rate, noise in event.components()]
    return Curve(lambda epsilons: sum(weight * part.delta(epsilons) for weight, part in parts),
                 min(part.lower for _, part in parts), max(part.upper for _, part in parts))

  return mean(_removed), mean(_added)


def _allocated(event):
  """Returns the curves of a pass of random allocation."""
  found = allocation.law(event.steps, event.noise_multiplier)
  low, high = found.log_ratio[[0, -1]]
  return Curve(found.removed, low, high), Curve(found.added, -high, -low)


def _removed(rate, noise):
  """Returns the curve of (1 - rate) N(0, noise^2) + rate N(1, noise^2) against N(0, noise^2)."""
  def delta(epsilons):
    # The ratio of densities exceeds exp(epsilon) above x, or everywhere if exp(epsilon) is below 1 - rate.
    excess = np.expm1(epsilons) + rate
    x = np.where(excess > 0, noise ** 2 * np.log(np.maximum(excess, 1e-300) / rate) + 0.5, -np.inf)
    return rate * special.ndtr((1 - x) / noise) - excess * special.ndtr(-x / noise)

  return Curve(delta, _log_ratio(-_TAIL * noise, rate, noise), _log_ratio(1 + _TAIL * noise, rate, noise))


def _added(rate, noise):
  """Returns the curve of N(0, noise^2) against (1 - rate) N(0, noise^2) + rate N(1, noise^2)."""
  def delta(epsilons):
    # The ratio is below exp(-epsilon) up to x, or nowhere if exp(-epsilon) is below 1 - rate.
    excess = np.expm1(-epsilons) + rate
    x = np.where(excess > 0, noise ** 2 * np.log(np.maximum(excess, 1e-300) / rate) + 0.5, -np.inf)
    return np.exp(epsilons) * (excess * special.ndtr(x / noise) - rate * special.ndtr((x - 1) / noise))

  return Curve(delta, -_log_ratio(1 + _TAIL * noise, rate, noise), -_log_ratio(-_TAIL * noise, rate, noise))


def _log_ratio(x, rate, noise):
  return float(np.logaddexp(math.log1p(-rate) if rate < 1 else -math.inf, math.log(rate) + (x - 0.5) / noise ** 2))


def _mixed_rdp(components, orders):
  """Returns a mixture's divergences if its component is public: exp((order - 1) divergence) is the components' mean."""
  orders = np.asarray(orders, float)
  parts = []
  for weight, rate, noise in components:
    once = _sampled_rdp(dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise)), tuple(orders))
    parts.append(math.log(weight) + (orders - 1) * once)
  total = np.logaddexp.reduce(parts)
  return np.where(np.isnan(total), np.inf, np.maximum(total / (orders - 1), 0.0))


# Maps an event to its two curves, removed and added.
_ONE_ROUND = {TruncatedPoissonGaussianDpEvent: _mixture, AllocatedGaussianDpEvent: _allocated}
