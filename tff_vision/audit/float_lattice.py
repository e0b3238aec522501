"""Whether released integers could have noise that was made of float32 numbers: such noise skips integers.

Noise multiplier x float32 Gaussian x grid steps reaches every integer at small multipliers. From 3 on it skips some
integers, and one release then rules out some totals (Mironov, CCS 2012, shows the same for float64). Correct noise
reaches all integers, and the count computed here then carries no information.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tff_vision.privacy import canaries as canaries_lib
from tff_vision.privacy.noise import integer_grid

_NEAR = 4  # Number of integers that are tried on each side of the most likely one.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Released:
  """Noised sums, recovered from two models: the integers that float32 arithmetic turns into exactly these weights.

  Attributes:
    center: [weights] float64, whole numbers.
    consistent: [2 _NEAR + 1, weights] bool, whether `center` - _NEAR, ..., `center` + _NEAR is one of them.
    known: [weights] bool, whether there are consistent integers and all of them are in `consistent`.
  """
  center: np.ndarray
  consistent: np.ndarray
  known: np.ndarray


def released(before: Sequence[np.ndarray], after: Sequence[np.ndarray], *, clip_norm: float, denominator: float,
             learning_rate: float) -> Released:
  """Returns the sums that follow from the trainable weights before and after a step of plain gradient descent."""
  old, new = (np.concatenate([np.ravel(part) for part in parts]).astype(np.float32) for parts in (before, after))
  unit, rate = float(np.float32(clip_norm)) / integer_grid.STEPS, np.float32(learning_rate)
  center = np.rint((old.astype(np.float64) - new) / learning_rate * denominator / unit)
  consistent = np.array([old - rate * (((center + step) * unit) / denominator).astype(np.float32) == new
                         for step in range(-_NEAR, _NEAR + 1)])
  return Released(center=center, consistent=consistent,
                  known=consistent.any(0) & ~consistent[0] & ~consistent[-1])


def contradictions(found: Released, others: np.ndarray, canaries: int, *, sigma: float | None) -> np.ndarray:
  """Returns [canaries]: the number of impossible coordinates if a canary took no part, minus the number if it did.

  Args:
    others: The sum without noise and without canaries, in grid steps; the adversary of the definition knows it.
    sigma: Standard deviation of white noise in grid steps; None for noise that was rounded to float32 at the end.
  """
  own = contribution(np.ones(canaries), len(others))
  without, with_it = (found.known & ~_possible(found, others + part, sigma) for part in (0, own))
  return canaries_lib.by_canary(without.astype(float) - with_it, canaries)


def contribution(included: np.ndarray, size: int) -> np.ndarray:
  """Returns what canaries add to a sum of `size` numbers, in grid steps. Args: included: [canaries], 1 or 0."""
  canaries, room = len(included), integer_grid.STEPS - np.sqrt(size)
  share = np.rint(room / np.sqrt(np.bincount(np.arange(size) % canaries, minlength=canaries))) * included
  return share[np.arange(size) % canaries] * canaries_lib.signs(size)


def _possible(found, total, sigma):
  possible = np.zeros(len(total), bool)
  for step, consistent in zip(range(-_NEAR, _NEAR + 1), found.consistent, strict=True):
    possible |= consistent & in_float32(found.center + step - total, sigma)
  return possible


def in_float32(noise: np.ndarray, sigma: float | None) -> np.ndarray:
  """Returns whether float32 noise can take these integer values. Args: sigma: as in `contradictions`."""
  if sigma is None:
    return noise.astype(np.float32).astype(np.float64) == noise
  if not sigma:
    return noise == 0
  near, found = (noise / sigma).astype(np.float32), np.zeros(len(noise), bool)
  for normal in near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf)):
    found |= np.rint(sigma * normal.astype(np.float64)) == noise
  return found
