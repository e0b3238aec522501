"""The Gaussian mechanism in closed form: the exact cost of releases without sampling.

A mechanism that adds N(0, (sigma * clip)^2) to a sum of L2 sensitivity `sensitivity * clip` is exactly mu-GDP with
mu = sensitivity / sigma (Dong, Roth & Su 2019, arXiv:1905.02383). k such mechanisms compose to sqrt(sum mu_i^2).
delta(epsilon) is the exact formula of Balle & Wang 2018 (arXiv:1805.06530), so there is no slack as in RDP.
"""

import math

import dp_accounting
from scipy import optimize, special

MARGIN = 1e-10  # Of a mu: roots are found to a smaller share of it.


def delta(mu: float, epsilon: float) -> float:
  """Returns the smallest delta for which mu-GDP implies (epsilon, delta)-DP."""
  above = special.ndtr(mu / 2 - epsilon / mu)
  # What is taken off is smaller than `above`; where epsilon has no digits left for the sum, it would be anything.
  return above - min(above, math.exp(min(0.0, epsilon + special.log_ndtr(-epsilon / mu - mu / 2))))


def epsilon(mu: float, target_delta: float) -> float:
  """Returns the smallest epsilon for which mu-GDP implies (epsilon, target_delta)-DP; inf for mu = inf."""
  if mu == 0 or (math.isfinite(mu) and delta(mu, 0.0) <= target_delta):
    return 0.0
  if not math.isfinite(mu):
    return math.inf
  # delta(mu, e) falls below exp(-x^2 / 2) at e = mu^2 / 2 + x mu.
  upper = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / target_delta)) + 1e-9
  return optimize.brentq(lambda e: delta(mu, e) - target_delta, 0.0, upper, xtol=1e-12)


def mu(target_epsilon: float, target_delta: float) -> float:
  """Returns the largest mu that is (target_epsilon, target_delta)-DP; its `epsilon` is never above the target."""
  upper = 1.0
  while delta(upper, target_epsilon) < target_delta:
    upper *= 2
  found = optimize.brentq(lambda m: delta(m, target_epsilon) - target_delta, 1e-9, upper, xtol=1e-14)
  # A root may lie on either side. Beyond the target, the last round would not be affordable.
  return found * (1 - MARGIN)


def together(*noise_multipliers: float) -> float:
  """Returns the noise multiplier of one Gaussian release that costs as much as all these; 0 if one has no noise."""
  if 0.0 in noise_multipliers:
    return 0.0
  return sum(noise ** -2 for noise in noise_multipliers) ** -0.5


def beside(total: float, other: float) -> float | None:
  """Returns the noise multiplier that costs as much as `total` when combined with `other`; None if nothing is left."""
  if total == 0:
    return 0.0
  left = total ** -2 - other ** -2
  return left ** -0.5 if left > 0 else None


def event(mu_value: float) -> dp_accounting.DpEvent:
  """Returns the event of a Gaussian mechanism."""
  return dp_accounting.GaussianDpEvent(1 / mu_value) if mu_value else dp_accounting.NoOpDpEvent()


def rho(mu_value: float) -> float:
  """Returns the zero-concentrated DP parameter of the same mechanism, mu^2 / 2 (Bun & Steinke 2016)."""
  return mu_value * mu_value / 2
