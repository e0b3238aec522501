"""Integer noise shares: their size, the rounding of updates, and the cost of their sum.

Every client adds a share of integer noise to its integer update, and a secure sum opens only the total. This is the
distributed discrete Gaussian (Kairouz, Liu & Steinke 2021, arXiv:2102.06387) and the distributed Skellam mechanism
(Agarwal, Kairouz & Liu 2021, arXiv:2110.04995). Both papers rotate updates so that few bits suffice. Here one integer
has room for a whole clipped update in one coordinate, so no integer wraps around and no rotation is needed.

Nothing here imports TensorFlow.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from dp_accounting import rdp

REACH = 12  # A share's noise ends at this many standard deviations, see `noise.discrete_gaussian_table`.
_SKELLAM_REACH = 40  # Skellam noise extends this many grid steps further.
_MAX_REACH = 2 ** 16  # Finer grids gain nothing, and their tables take seconds to compute.
_LOG_BETA = 0.5  # Conditional rounding accepts with probability 1 - exp(-_LOG_BETA) at least.
ORDERS = tuple(rdp.rdp_privacy_accountant.DEFAULT_RDP_ORDERS)


def rounded_norm(norm: float, length: int) -> float:
  """Returns the L2 norm that a conditionally rounded vector of norm `norm` never exceeds; arXiv:2102.06387, eq. (5).

  Args:
    norm: The norm before rounding, in grid steps.
    length: Number of coordinates.
  """
  return min(norm + math.sqrt(length), math.sqrt(
      norm ** 2 + length / 4 + math.sqrt(2 * _LOG_BETA) * (norm + math.sqrt(length) / 2)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shares:
  """The grid and one client's noise.

  Attributes:
    kind: `gaussian` or `skellam`.
    clip_steps: Grid steps in one clip norm.
    length: Number of coordinates of an update.
    stddev: Standard deviation of one client's share, in grid steps.
  """
  kind: str
  clip_steps: float
  length: int
  stddev: float

  @property
  def sensitivity(self) -> float:
    """The largest L2 norm of an integer update, in grid steps."""
    return rounded_norm(self.clip_steps, self.length)

  def divergence(self, clients: int) -> np.ndarray:
    """Returns the Renyi divergences, at `ORDERS`, of one sum that holds the shares of `clients` clients."""
    if not self.stddev or not clients:
      return np.full(len(ORDERS), math.inf)
    return _DIVERGENCES[self.kind](self, clients)


_Shares = TypeVar('_Shares', bound=Shares)


def fit(kind: str, *, offset: int, length: int, noise_multiplier: float, survivors: int) -> Shares:
  """Returns the shares on the finest grid for which update plus noise never exceeds `offset` grid steps.

  Args:
    offset: Largest integer of a client.
    noise_multiplier: Standard deviation of the noise in the sum, over the sensitivity of rounded updates.
    survivors: The number of clients whose shares together give this noise.

  Raises:
    ValueError: Rounding would more than double the norm of an update.
  """
  def made(clip_steps):
    stddev = noise_multiplier * rounded_norm(clip_steps, length) / math.sqrt(survivors)
    return Shares(kind=kind, clip_steps=clip_steps, length=length, stddev=stddev)

  found = finest(made, offset, lambda shares: math.ceil(shares.clip_steps) + 1)
  if found.sensitivity > 2 * found.clip_steps:
    raise ValueError(f'secure_bits={(offset + 1).bit_length()} is too coarse for {length} parameters with noise shares '
                     f'of noise_multiplier={noise_multiplier:.3g} over {survivors} clients: rounding alone would more '
                     'than double the norm of an update; raise secure_bits.')
  return found


def finest(made: Callable[[float], _Shares], offset: int, largest: Callable[[_Shares], int]) -> _Shares:
  """Returns the shares of the finest grid for which a client's integer plus noise never exceeds `offset`.

  Args:
    made: Maps the grid steps in one clip norm to the shares on this grid.
    largest: Returns the largest magnitude of a client's integer before noise.
  """
  def fits(shares):
    reach = math.ceil(REACH * shares.stddev) + _SKELLAM_REACH if shares.stddev else 0
    return largest(shares) + reach <= offset and reach <= _MAX_REACH

  low, high = 0.0, float(offset)
  for _ in range(60):
    middle = (low + high) / 2
    low, high = (middle, high) if fits(made(middle)) else (low, middle)
  return made(low)


def epsilon(divergences: np.ndarray, delta: float) -> float:
  """Returns epsilon of composed divergences at `ORDERS`."""
  if not np.isfinite(divergences).all():
    return math.inf
  return float(rdp.compute_epsilon(ORDERS, divergences, delta)[0])


def _gaussian(shares, clients):
  """arXiv:2102.06387, Theorem 1 with Proposition 13: concentrated DP of a sum of discrete Gaussians."""
  variance = shares.stddev ** 2
  # The distance of a sum of discrete Gaussians from a discrete Gaussian.
  gap = 10 * sum(math.exp(-2 * math.pi ** 2 * variance * k / (k + 1)) for k in range(1, clients))
  ratio = shares.sensitivity / math.sqrt(clients * variance)
  root = min(math.sqrt(ratio ** 2 + gap * shares.length / 2), ratio + gap * math.sqrt(shares.length))
  return np.array(ORDERS) * root ** 2 / 2


def _skellam(shares, clients):
  """arXiv:2110.04995, Theorem 3.5; the L1 norm of an integer vector is at most its squared L2 norm."""
  variance, two = clients * shares.stddev ** 2, shares.sensitivity
  one = min(math.sqrt(shares.length) * two, two ** 2)
  # The theorem holds for integer orders. The divergence grows with the order, so the next integer gives a bound.
  orders = np.ceil(ORDERS)
  excess = np.minimum(((2 * orders - 1) * two ** 2 + 6 * one) / (4 * variance ** 2), 3 * one / (2 * variance))
  return orders * two ** 2 / (2 * variance) + excess


_DIVERGENCES = {'gaussian': _gaussian, 'skellam': _skellam}
KINDS: Sequence[str] = tuple(_DIVERGENCES)
