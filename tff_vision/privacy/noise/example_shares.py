"""Integer noise shares for a secure sum of clipped gradients: their size, and what one example pays for a sum.

Each client adds the clipped gradients of its own batch, limits and rounds every coordinate, and adds a share of integer
noise (`integer_shares`). The batches of all clients are drawn independently and are secret. A round is thus one step of
private SGD on the examples of all clients together, with noise that no single party draws.

Nothing here imports TensorFlow.
"""

import dataclasses
import math

from tff_vision.privacy.noise import integer_shares

_ROUNDED_BY = 4.0
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

  def accounted(self, clients: int) -> float:
    """Returns the noise multiplier of a continuous Gaussian mechanism that costs no less than a sum of the shares.

    A sum of discrete Gaussians is a discrete Gaussian (Kairouz, Liu & Steinke 2021, arXiv:2102.06387, Theorem 1). And a
    discrete Gaussian of variance s^2 around a whole number is a continuous one of variance s^2 - r^2, rounded at random
    by a discrete Gaussian of deviation r around it (Peikert 2010, "An Efficient and Parallel Gaussian Sampler for
    Lattices", Theorem 3.1): what it tells is a function of what the continuous one tells. Both statements leave out
    factors of 1 +- exp(-19 r^2), which for r = 4 is below 2^-400. So the number holds for sampled batches too.

    Args:
      clients: The number of clients whose shares are in the sum.

    Returns:
      0, which is accounted as no noise, where shares are smaller than r.
    """
    if self.stddev < _ROUNDED_BY:
      return 0.0
    return math.sqrt(clients * self.stddev ** 2 - _ROUNDED_BY ** 2) / self.sensitivity if clients else 0.0


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
