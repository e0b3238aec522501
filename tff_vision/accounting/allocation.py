"""Random allocation: each record takes part in one step of a pass, drawn uniformly and independently (balls into bins).

Feldman & Shenfeld 2025, "Privacy amplification by random allocation" (arXiv:2502.08202), and Chua et al. 2024,
"Balls-and-Bins sampling for DP-SGD" (arXiv:2412.16802): let each of t steps, which may be adaptive, have Gaussian noise
of deviation s times the norm of a record. Then a pass is dominated by the pair

  P = (1/t) sum_i N(e_i, s^2 I),  Q = N(0, s^2 I)  in t dimensions,

in both directions. Under Q the ratio of densities is R = (1/t) sum_i X_i, with X_i independent and log-normal, log X_i
~ N(-1 / (2 s^2), 1 / s^2). So only the law of R under Q is needed: the hockey-stick divergences are
E (R - e^epsilon)_+ and E (1 - e^epsilon R)_+, and the Renyi moments are E R^a.

The law is computed on a grid of log R. Both divergences are means of convex functions of R. So a mass between two grid
points is split between them such that the mean is unchanged; this never makes a divergence smaller. Means of more and
more X are formed by doubling. On a logarithmic grid, the mean of two points at a given distance lies at a given
distance from them. Mass beyond the ends of the grid counts as an infinite loss, in both directions.
(A shuffled pass in batches of a fixed size is different: there the positions of the other records reveal the position
of a record.)
"""

import dataclasses
import functools
import math

import numpy as np
from scipy import special

_TAIL = 9.5  # Standard deviations of log X on the grid; the probability beyond is 1e-21.
_LOST = 1e-19  # The mass of a tail that may be dropped at each doubling.
_POINTS = 6000  # The most points of a law; a wide law (few steps) gets a coarser grid.
_RELATIVE_STEP = 0.03  # Grid step over the deviation of R; splitting masses then adds 3e-4 to the variance of R.
_FINEST, _COARSEST = 1e-6, 0.02
LARGEST_ORDER = 256


@dataclasses.dataclass(frozen=True)
class Law:
  """A distribution of R under Q.

  Attributes:
    first: log R of the first point, in steps.
    step: The grid step of log R.
    mass: The probability mass of each point.
    lost: A bound on the probability, under P and under Q, that R is at none of the points.
  """
  first: int
  step: float
  mass: np.ndarray
  lost: float

  @property
  def log_ratio(self) -> np.ndarray:
    """The value of log R at each point."""
    return (self.first + np.arange(len(self.mass))) * self.step

  @functools.cached_property
  def _sums(self):
    ratio = np.exp(self.log_ratio)
    weighted = self.mass * ratio
    # For each point: the sum over it and all later points, and the sum over all earlier points.
    after = [np.append(np.cumsum(part[::-1])[::-1], 0.0) for part in (weighted, self.mass)]
    before = [np.insert(np.cumsum(part), 0, 0.0) for part in (weighted, self.mass)]
    return after, before

  def removed(self, epsilons: np.ndarray) -> np.ndarray:
    """Returns an upper bound on the hockey-stick divergence of P against Q."""
    (weighted, mass), _ = self._sums
    at = np.searchsorted(self.log_ratio, epsilons, side='right')
    return np.maximum(weighted[at] - np.exp(epsilons) * mass[at], 0) + self.lost

  def added(self, epsilons: np.ndarray) -> np.ndarray:
    """Returns an upper bound on the hockey-stick divergence of Q against P."""
    _, (weighted, mass) = self._sums
    at = np.searchsorted(self.log_ratio, -np.asarray(epsilons), side='left')
    return np.maximum(mass[at] - np.exp(epsilons) * weighted[at], 0) + self.lost


@functools.lru_cache(maxsize=8)
def law(steps: int, noise_multiplier: float) -> Law:
  """Returns the law of R for `steps` steps with this noise."""
  spread = math.sqrt(math.expm1(min(noise_multiplier ** -2, 500.0)) / steps)
  finest = min(max(_RELATIVE_STEP * spread, _FINEST), _COARSEST)
  # The points of a coarser grid are a subset of the points of a finer grid.
  coarser = max(0, math.ceil(math.log2(2 * _TAIL / noise_multiplier / (_POINTS * finest))))
  power, done, found, count = _one(noise_multiplier, finest * 2 ** coarser), 1, None, 0
  while True:
    if steps & done:
      found = power if found is None else _mean(found, power, count / (count + done))
      count += done
    if count == steps:
      return found
    power, done = _refined(_mean(power, power, 0.5), finest), 2 * done
    if found is not None:
      found = _at(found, power.step)


def _one(noise, step):
  """Returns the law of one X; each mass is split between the two neighbouring points."""
  mean, deviation = -0.5 * noise ** -2, 1 / noise
  first = math.floor((mean - _TAIL * deviation) / step)
  last = math.ceil((mean + (_TAIL + deviation) * deviation) / step)  # Under P, log X lies deviation^2 higher.
  edges = np.arange(first, last + 1) * step
  mass, weighted = (_cells((edges - center) / deviation) for center in (mean, -mean))
  return Law(first, step, _split(mass, weighted, np.exp(edges)), _LOST)


def _cells(z):
  """Returns the standard normal probability between consecutive numbers of `z`."""
  return np.where(z[:-1] > 0, special.ndtr(-z[:-1]) - special.ndtr(-z[1:]), special.ndtr(z[1:]) - special.ndtr(z[:-1]))


def _split(mass, weighted, points):
  """Returns masses on the points from masses between the points, with unchanged means."""
  upper = np.clip((weighted - points[:-1] * mass) / np.diff(points), 0, mass)
  found = np.zeros(len(points))
  found[:-1] += mass - upper
  found[1:] += upper
  return found


def _mean(one, other, share):
  """Returns the law of share * A + (1 - share) * B for independent A and B on grids of the same step."""
  step, (n, m) = one.step, (len(one.mass), len(other.mass))
  offset = one.first - other.first
  # The lowest grid point is the mean of the two lowest points, and the highest is the mean of the two highest.
  low = _position(one.first, other.first, share, step)
  high = _position(one.first + n - 1, other.first + m - 1, share, step) + 1
  found = np.zeros(high - low + 1)
  for shift in range(-(m - 1), n):
    # Pairs (i, i - shift): A is above B by this distance.
    start, stop = max(0, shift), min(n, m + shift)
    pairs = one.mass[start:stop] * other.mass[start - shift:stop - shift]
    distance = shift + offset
    above = _log_mean(0.0, -distance * step, share) / step  # The mean minus A, in steps.
    down = math.floor(above)
    rising = math.expm1((above - down) * step) / math.expm1(step)
    at = one.first + start + down - low
    found[at:at + len(pairs)] += (1 - rising) * pairs
    found[at + 1:at + 1 + len(pairs)] += rising * pairs
  return _trimmed(Law(low, step, found, one.lost + other.lost))


def _position(i, j, share, step):
  return i + math.floor(_log_mean(0.0, (j - i) * step, share) / step)


def _log_mean(a, b, share):
  return float(np.logaddexp(a + math.log(share), b + math.log1p(-share)))


def _trimmed(found):
  """Returns the law without tails of negligible mass; the upper tail's mass is measured under P."""
  low = int(np.searchsorted(np.cumsum(found.mass), _LOST))
  weighted = found.mass * np.exp(found.log_ratio)
  high = len(found.mass) - int(np.searchsorted(np.cumsum(weighted[::-1]), _LOST))
  mass = found.mass[low:high]
  # Rounding errors double with each doubling. Masses that became too small are scaled up.
  return Law(found.first + low, found.step, mass / min(1.0, math.fsum(mass)), found.lost + 2 * _LOST)


def _refined(found, finest):
  """Returns the law on the finest grid that its width allows."""
  step = found.step
  while step > 1.5 * finest and 2 * (len(found.mass) * found.step / step) <= _POINTS:
    step /= 2
  return _at(found, step)


def _at(found, step):
  """Returns the law on a finer grid that contains its own."""
  factor = round(found.step / step)
  if factor == 1:
    return found
  mass = np.zeros((len(found.mass) - 1) * factor + 1)
  mass[::factor] = found.mass
  return Law(found.first * factor, step, mass, found.lost)


@functools.lru_cache(maxsize=64)
def renyi(steps: int, noise_multiplier: float, orders: tuple[float, ...]) -> np.ndarray:
  """Returns an upper bound on the Renyi divergences of a pass, in both directions; infinite beyond LARGEST_ORDER."""
  orders = np.array(orders, float)
  whole = np.arange(LARGEST_ORDER + 1)
  # log E R^a is convex in a, and 0 at a = 0 and a = 1, so between integers the chord lies above it.
  removed = np.interp(orders, whole, _log_moments(steps, noise_multiplier))
  found, inverse = law(steps, noise_multiplier), 1 / noise_multiplier ** 2
  power = orders - 1
  inside = special.logsumexp(-np.outer(power, found.log_ratio), b=found.mass, axis=1)
  # Where R is off the grid, it is above the geometric mean of the X, a log-normal. By Cauchy and Schwarz:
  outside = (math.log(found.lost) + power * inverse + 2 * power ** 2 * inverse / steps) / 2
  divergence = np.maximum(removed, np.logaddexp(inside, outside)) / power
  return np.where(orders > LARGEST_ORDER, np.inf, divergence)


def _log_moments(steps, noise_multiplier):
  """Returns log E R^a for a = 0 .. LARGEST_ORDER: E exp(x sum X_i) is a power of E exp(x X), term by term."""
  order = np.arange(LARGEST_ORDER + 1)
  factorial = special.gammaln(order + 1)
  power, total, left = order * (order - 1) / (2 * noise_multiplier ** 2) - factorial, None, steps
  while True:
    if left & 1:
      total = power if total is None else _product(total, power)
    left >>= 1
    if not left:
      return np.maximum(total + factorial - order * math.log(steps), 0.0)
    power = _product(power, power)


def _product(one, other):
  """Returns the logarithms of the coefficients of a product of two series."""
  return np.array([special.logsumexp(one[:k + 1] + other[k::-1]) for k in range(len(one))])
