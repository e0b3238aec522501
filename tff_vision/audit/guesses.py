"""From scores to guesses: how many coins are guessed is fixed before, and what may go wrong is shared out."""

import dataclasses
import secrets

import numpy as np

from tff_vision.audit import one_run

# Shares of the canaries that are guessed to be in the data (highest scores) and not to be in it (lowest scores).
# No level guesses all canaries: the coins seldom split evenly.
LEVELS = ((3 / 8, 3 / 8), (1 / 4, 1 / 4), (1 / 16, 1 / 16), (1 / 8, 0.0))


def small_delta(delta: float, canaries: int, error: float) -> float:
  """Returns the delta at which to audit a guarantee: its own delta, or a smaller one at which a bound is possible.

  The bound contains the term 2 m delta; if it exceeds `error`, the bound is empty. A guarantee holds at every delta,
  each with its own epsilon.
  """
  return min(delta, error / (10 * canaries))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guesses:
  """The guesses of one observer, at the level that gives the highest bound.

  Attributes:
    canaries: Number of canaries.
    guesses: Number of guesses.
    right: Number of right guesses.
    epsilon_low: Lower bound on epsilon, except with probability `error`.
  """
  canaries: int
  guesses: int
  right: int
  epsilon_low: float


def best(scores: np.ndarray, included: np.ndarray, *, delta: float, error: float) -> Guesses:
  """Returns the guesses that give the highest lower bound on epsilon.

  Args:
    scores: [canaries], high if the canary seems to be in the data. Ties are broken in an order that nobody knows.
    included: [canaries] bool, the coins.
    delta: The delta of the guarantee.
    error: The probability with which the bound may be false, for this observer's guesses at one level.
  """
  shuffled = np.random.default_rng(secrets.randbits(128)).permutation(len(scores))
  order = shuffled[np.argsort(-np.asarray(scores)[shuffled], kind='stable')]
  return max((_at(order, included, *level, delta, error) for level in LEVELS),
             key=lambda found: (found.epsilon_low, found.right / max(1, found.guesses)))


def ceiling(canaries: int, *, delta: float, error: float) -> float:
  """Returns the highest bound that `best` can give with this number of canaries: all of its guesses are right."""
  return max(one_run.epsilon_low(canaries=canaries, guesses=most, right=most, delta=delta, error=error)
             for most in (int(high * canaries) + int(low * canaries) for high, low in LEVELS))


def _at(order, included, high, low, delta, error):
  number = len(order)
  said_in, said_out = order[:int(high * number)], order[number - int(low * number):]
  guesses, right = len(said_in) + len(said_out), int(included[said_in].sum() + (~included[said_out]).sum())
  return Guesses(canaries=number, guesses=guesses, right=right, epsilon_low=one_run.epsilon_low(
      canaries=number, guesses=guesses, right=right, delta=delta, error=error))
