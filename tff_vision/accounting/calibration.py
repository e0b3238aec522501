"""Finds the noise that meets a budget, and the number of rounds that a budget allows.

The search uses coarse privacy loss distributions; the final steps use fine ones. The answer never exceeds the budget.
"""

import dataclasses
import math

from tff_vision.accounting import accounting, gdp

_MAX_ROUNDS = 10 ** 7
_LOG_NOISE_RANGE = (math.log(0.05), math.log(1e5))
_LONGEST_STEP = 0.5
_MAX_STEPS = 40
_SETTLING_STEPS = 5


def noise_multiplier(releases: accounting.SampledGaussian, target_epsilon: float, delta: float, *,
                     fine: bool = True) -> float:
  """Returns the least noise multiplier whose epsilon at `delta` is at most `target_epsilon`.

  Args:
    releases: The run; its own noise_multiplier is ignored.
    target_epsilon: The budget.
    delta: The delta of (epsilon, delta).
    fine: False returns the coarse answer, about 0.1 % too large, which is enough for a comparison.

  Raises:
    ValueError: No noise multiplier up to 100000 meets the budget.
  """
  def excess(log_noise, settled):
    run = dataclasses.replace(releases, noise_multiplier=math.exp(log_noise))
    return math.log(max(run.epsilon(delta, fine=settled), 1e-300) / target_epsilon)

  coarse = _least(lambda x: excess(x, False), _first_guess(releases, target_epsilon, delta), 1e-3)
  if coarse is None:
    raise ValueError(f'target_epsilon={target_epsilon} is out of reach for {releases.rounds} rounds of '
                     f'{releases.cohort_size} of {releases.population}: noise_multiplier=100000 still exceeds it.')
  return math.exp(_least(lambda x: excess(x, True), coarse, 1e-5) if fine else coarse)


def _first_guess(releases, target_epsilon, delta):
  """Returns a log noise multiplier from the central limit of composition, arXiv:1911.11607, Theorem 5."""
  mu = gdp.mu(target_epsilon, delta)
  if releases.sampling == 'shuffled':
    return math.log(math.sqrt(releases.event().count) / mu)
  # Random allocation costs about what Poisson sampling costs.
  spread = mu / (releases.cohort_size / releases.population * math.sqrt(releases.rounds))
  scale = 2 if releases.sampling == 'fixed' else 1
  return math.log(scale / math.sqrt(math.log1p(spread * spread)))


def _least(excess, start, tolerance):
  """Returns the least x in range with excess(x) <= 0, up to a slack of `tolerance`, or None.

  Args:
    excess: A decreasing function: log(epsilon / target) of the log noise multiplier, which is almost linear.
    start: A first guess.
    tolerance: Stops at an x where -tolerance <= excess(x) <= 0.
  """
  low, high = _LOG_NOISE_RANGE
  x, slope, last, best = min(max(start, low), high), -1.5, None, None
  for _ in range(_MAX_STEPS):
    value = excess(x)
    if value <= 0:
      high, best = x, x
    else:
      low = x
    if -tolerance <= value <= 0 or high - low < 1e-9:
      break
    if last is not None and math.isfinite(value) and math.isfinite(last[1]) and value != last[1]:
      slope = min((value - last[1]) / (x - last[0]), -1e-3)
    last = (x, value)
    # Aim inside the tolerance rather than at its edge.
    step = -(value + tolerance / 2) / slope if math.isfinite(value) else _LONGEST_STEP
    proposed = x + max(-_LONGEST_STEP, min(step, _LONGEST_STEP))
    if proposed <= low or proposed >= high:
      proposed = (low + high) / 2 if best is not None and low > _LOG_NOISE_RANGE[0] else min(max(proposed, low), high)
    x = proposed
  return best


def rounds(releases: accounting.SampledGaussian, target_epsilon: float, delta: float) -> int:
  """Returns the largest number of rounds whose epsilon at `delta` is at most `target_epsilon`.

  The answer is exact at the fine interval up to the last few rounds (up to 0.01 % if there are very many), and never
  exceeds the budget.

  Args:
    releases: The run; its own rounds are ignored.
    target_epsilon: The budget.
    delta: The delta of (epsilon, delta).

  Raises:
    ValueError: Not even one round fits, or more than ten million do.
  """
  def epsilon(count, fine):
    return dataclasses.replace(releases, rounds=count).epsilon(delta, fine=fine)

  if epsilon(1, False) > target_epsilon:
    raise ValueError(f'target_epsilon={target_epsilon} is spent before the first round ends at '
                     f'noise_multiplier={releases.noise_multiplier}.')
  high = 2
  while epsilon(high, False) <= target_epsilon:
    high *= 2
    if high > _MAX_ROUNDS:
      raise ValueError(f'target_epsilon={target_epsilon} lasts for more than {_MAX_ROUNDS} rounds.')
  count = _last_that_fits(lambda n: epsilon(n, False) <= target_epsilon, high // 2, high)
  ahead = 1 + count // 50
  per_round = max((epsilon(count + ahead, False) - epsilon(count, False)) / ahead, 1e-9)
  spent = epsilon(count, True)
  # Coarse distributions overstate the cost of many rounds, so continue along the last measured slope.
  for _ in range(_SETTLING_STEPS):
    candidate = count + int((target_epsilon - spent) / per_round)
    if candidate - count <= count // 10_000:
      break
    found = epsilon(candidate, True)
    per_round = max((found - spent) / (candidate - count), 1e-9)
    if found <= target_epsilon:
      count, spent = candidate, found
  return count


def _last_that_fits(fits, low, high):
  """Returns the last value that fits, by bisection; requires fits(low) and not fits(high)."""
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if fits(middle) else (low, middle)
  return low
