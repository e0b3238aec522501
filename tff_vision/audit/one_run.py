"""What right guesses of coins say about epsilon: privacy auditing with one training run.

Steinke, Nasr & Jagielski 2023, arXiv:2305.08846. Each of m canaries is in the data or not by a fair coin; from what a
run released, an attacker guesses k of the coins and skips the others. If the run is (epsilon, delta)-DP, the number of
right guesses hardly exceeds a binomial variable B of k draws with probability e^epsilon / (1 + e^epsilon). Corollary
5.4 gives the bound

  P[v or more right] <= P[B >= v] + 2 m delta max over i of P[v > B >= v - i] / i.

This holds for any one attacker whose number of guesses is fixed in advance. Several attackers share the error
probability.
"""

import numpy as np
from scipy import stats

_RESOLUTION = 40  # Halvings: 1e-12 of epsilon.
_LARGEST = 700.0


def p_value(*, canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
  """Returns a bound on the probability of this number of right guesses, or more, under (epsilon, delta)-DP.

  Args:
    canaries: Number of canaries, m.
    guesses: Number of coins that the attacker guesses, k.
    right: Number of right guesses, v.
  """
  if not 0 <= right <= guesses <= canaries:
    raise ValueError(f'{right} right of {guesses} guesses on {canaries} canaries cannot be.')
  if not right:
    return 1.0
  accuracy = 1 / (1 + np.exp(-epsilon))
  chance = stats.binom.sf(right - 1, guesses, accuracy)
  # P[v > B >= v - i] for i = 1, ..., v.
  just_below = np.cumsum(stats.binom.pmf(np.arange(right - 1, -1, -1), guesses, accuracy))
  slack = 2 * canaries * delta * np.max(just_below / np.arange(1, right + 1))
  return float(min(1.0, chance + slack))


def epsilon_low(*, canaries: int, guesses: int, right: int, delta: float, error: float) -> float:
  """Returns a lower bound on a run's epsilon at this delta, false with probability `error`; 0 is no information."""
  def rejected(epsilon):
    return p_value(canaries=canaries, guesses=guesses, right=right, epsilon=epsilon, delta=delta) < error

  if not rejected(0.0):
    return 0.0
  low, high = 0.0, 1.0
  while rejected(high) and high < _LARGEST:
    low, high = high, 2 * high
  for _ in range(_RESOLUTION):
    middle = (low + high) / 2
    low, high = (middle, high) if rejected(middle) else (low, middle)
  return low
