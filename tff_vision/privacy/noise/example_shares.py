"""Integer noise shares for a secure sum of clipped gradients: their size, and what one example pays for a sum.

Each client adds the clipped gradients of its own batch, limits and rounds every coordinate, and adds a share of integer
noise (`integer_shares`). The batches of all clients are drawn independently and are secret. A round is thus one step of
private SGD on the examples of all clients together, with noise that no single party draws.

Nothing here imports TensorFlow.
"""

import dataclasses
import math

import dp_accounting
import numpy as np
from dp_accounting import rdp

from tff_vision.privacy.noise import integer_shares

LIMIT = 32  # A client's sum is limited to this many clip norms in each coordinate.


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleShares(integer_shares.Shares):
  """The grid and one client's noise; `clip_steps` are the grid steps in the clip norm of one example."""

  @property
  def sensitivity(self) -> float:
    """The largest L2 distance of the integers of two batches that differ in one example, in grid steps.

    Limiting a coordinate does not increase distances, and rounding two numbers adds at most one step to theirs.
    """
    return self.clip_steps + math.sqrt(self.length)

  @property
  def limit(self) -> int:
    """The largest magnitude of a client's integers before noise."""
    return math.ceil(LIMIT * self.clip_steps)

  def sampled_divergence(self, clients: int, rate: float) -> np.ndarray:
    """Returns the Renyi divergences, at `integer_shares.ORDERS`, that one example pays for one sum.

    The moments of a discrete Gaussian that is moved by whole numbers equal those of the continuous one, and both are
    symmetric, so the formula of the sampled Gaussian mechanism (Mironov, Talwar & Zhang 2019, arXiv:1908.10530,
    sections 3.2 and 3.3) holds at whole orders. A divergence grows with its order, so other orders take the next one.

    Args:
      clients: The number of clients whose shares are in the sum.
      rate: The probability with which the example is in its client's batch.
    """
    if not self.stddev or not clients:
      return np.full(len(integer_shares.ORDERS), math.inf)
    orders = np.ceil(integer_shares.ORDERS)
    noise = self.stddev * math.sqrt(clients) / self.sensitivity
    once = rdp.RdpAccountant(orders).compose(
        dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise)))
    # A sum of discrete Gaussians is no discrete Gaussian: the logarithms of their probabilities differ by at most this.
    gap = self.length * integer_shares.gap_of_sum(self.stddev, clients)
    return np.asarray(once.rdp) + (2 * orders - 1) / (orders - 1) * gap


def fit(*, offset: int, length: int, noise_multiplier: float, survivors: int) -> ExampleShares:
  """Returns the shares on the finest grid for which a client's limited sum plus noise never exceeds `offset` steps.

  Args:
    offset: Largest integer of a client.
    length: Number of coordinates.
    noise_multiplier: Standard deviation of the noise in the sum, over the sensitivity.
    survivors: The number of clients whose shares together give this noise.

  Raises:
    ValueError: Rounding would more than double the sensitivity.
  """
  def made(clip_steps):
    stddev = noise_multiplier * (clip_steps + math.sqrt(length)) / math.sqrt(survivors)
    return ExampleShares(kind='gaussian', clip_steps=clip_steps, length=length, stddev=stddev)

  found = integer_shares.finest(made, offset, lambda shares: shares.limit)
  if found.sensitivity > 2 * found.clip_steps:
    raise ValueError(f'secure_bits={(offset + 1).bit_length()} is too coarse for {length} parameters with noise shares '
                     f'of noise_multiplier={noise_multiplier:.3g} over {survivors} clients: rounding alone would more '
                     'than double what one example changes; raise secure_bits.')
  return found
