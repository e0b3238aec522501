"""From scores to guesses: how many coins are guessed is fixed before, and what may go wrong is shared out."""

import dataclasses
import secrets

import numpy as np

from tff_vision.audit import one_run

# Shares of the canaries that are said to be in the data, and not to be: those with the highest and the lowest scores.
# Not all of them: coins seldom come out even.
LEVELS = ((3 / 8, 3 / 8), (1 / 4, 1 / 4), (1 / 16, 1 / 16), (1 / 8, 0.0))


def small_delta(delta: float, canaries: int, error: float) -> float:
  """Returns the delta at which to audit a promise: its own, or one at which guesses of coins can show something.

  The bound pays 2 m delta, and more than `error` leaves nothing of it. A promise holds at every delta, each with its
  epsilon.
  """
  return min(delta, error / (10 * canaries))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guesses:
  """Those of one observer at the level that shows most.

  Attributes:
    canaries: All that there were.
    guesses: On so many of them.
    right: So many were right.
    epsilon_low: What epsilon exceeds, but for the error.
  """
  canaries: int
  guesses: int
  right: int
  epsilon_low: float


def best(scores: np.ndarray, included: np.ndarray, *, delta: float, error: float) -> Guesses:
  """Returns the guesses that bound epsilon best.

  Args:
    scores: [canaries], high for what seems to be in the data. Equal ones are put into an order that nobody knows.
    included: [canaries] bool, the coins.
    delta: Of the promise.
    error: The probability with which the bound may be false, of this observer's guesses at one level.
  """
  shuffled = np.random.default_rng(secrets.randbits(128)).permutation(len(scores))
  order = shuffled[np.argsort(-np.asarray(scores)[shuffled], kind='stable')]
  return max((_at(order, included, *level, delta, error) for level in LEVELS),
             key=lambda found: (found.epsilon_low, found.right / max(1, found.guesses)))


def ceiling(canaries: int, *, delta: float, error: float) -> float:
  """Returns the most that `best` can show with so many canaries: all of its guesses right."""
  return max(one_run.epsilon_low(canaries=canaries, guesses=most, right=most, delta=delta, error=error)
             for most in (int(high * canaries) + int(low * canaries) for high, low in LEVELS))


def _at(order, included, high, low, delta, error):
  number = len(order)
  said_in, said_out = order[:int(high * number)], order[number - int(low * number):]
  guesses, right = len(said_in) + len(said_out), int(included[said_in].sum() + (~included[said_out]).sum())
  return Guesses(canaries=number, guesses=guesses, right=right, epsilon_low=one_run.epsilon_low(
      canaries=number, guesses=guesses, right=right, delta=delta, error=error))
