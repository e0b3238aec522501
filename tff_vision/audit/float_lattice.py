"""Whether released integers could have noise that was made of float32 numbers: such noise skips integers.

Noise multiplier x float32 Gaussian x grid steps takes every integer at small multipliers; from 3 on it leaves some out, and
one release tells then which total cannot be behind it (Mironov, CCS 2012, has the same of float64). Noise as it should be
takes all integers alike, and what is counted here says nothing.
"""

from collections.abc import Sequence

import numpy as np

from tff_vision.privacy import canaries as canaries_lib
from tff_vision.privacy.noise import integer_grid

_SURE = 0.25  # In grid steps: what the float32 weights leave open of a release.


def released_steps(before: Sequence[np.ndarray], after: Sequence[np.ndarray], steps_per_unit: float
                   ) -> tuple[np.ndarray, np.ndarray]:
  """Returns the noised sum, flat, in grid steps, and where the float32 weights of two models tell it exactly.

  Args:
    before: The model's trainable weights.
    after: Those after one step of plain gradient descent.
    steps_per_unit: Grid steps of the sum in one unit of the weights' change.
  """
  old, new = (np.concatenate([np.ravel(part) for part in parts]).astype(np.float64) for parts in (before, after))
  steps = (old - new) * steps_per_unit
  # Half a unit in the last place of the new weight, and the roundings of the mean and of its product with the rate.
  blur = np.spacing(np.abs(new).astype(np.float32)).astype(np.float64) / 2 + np.abs(old - new) * 2.0 ** -23
  return np.rint(steps), blur * steps_per_unit < _SURE


def contradictions(released: np.ndarray, known: np.ndarray, others: np.ndarray, canaries: int, *,
                   sigma: float | None) -> np.ndarray:
  """Returns [canaries], the impossible coordinates if a canary took no part, less those if it did.

  Args:
    released: Noised sum in grid steps, flat.
    known: Where it is known exactly.
    others: The sum without noise and without canaries, which the adversary of the definition knows.
    sigma: Standard deviation of white noise in grid steps; None: of noise that was rounded to float32 after its making.
  """
  own = contribution(np.ones(canaries), len(released))
  without, with_it = (known & ~_possible(released - others - part, sigma) for part in (0, own))
  return canaries_lib.by_canary(without.astype(float) - with_it, canaries)


def contribution(included: np.ndarray, size: int) -> np.ndarray:
  """Returns what canaries add to a sum of `size` numbers in grid steps. Args: included: [canaries] of 1 and 0."""
  canaries = len(included)
  room = integer_grid.STEPS - np.sqrt(size)
  share = np.rint(room / np.sqrt(np.bincount(np.arange(size) % canaries, minlength=canaries))) * included
  return share[np.arange(size) % canaries] * canaries_lib.signs(size)


def _possible(noise, sigma):
  if sigma is None:
    return noise.astype(np.float32).astype(np.float64) == noise
  if not sigma:
    return noise == 0
  near, found = (noise / sigma).astype(np.float32), np.zeros(len(noise), bool)
  for normal in near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf)):
    found |= np.rint(sigma * normal.astype(np.float64)) == noise
  return found
