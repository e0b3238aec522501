"""Epsilon of an event and noise for an epsilon, by Google's dp-accounting.

PLD is tight and takes a second; RDP (Mironov, CSF 2017) is an upper bound in milliseconds.
"""

from collections.abc import Callable

import dp_accounting


def epsilon_pld(event: dp_accounting.DpEvent, delta: float) -> float:
  """Returns epsilon at `delta` by privacy loss distributions; infinity when nothing is protected."""
  return float(dp_accounting.pld.PLDAccountant().compose(event).get_epsilon(delta))


def epsilon_rdp(event: dp_accounting.DpEvent, delta: float) -> float:
  """Returns an upper bound on epsilon at `delta` by Renyi differential privacy."""
  return float(dp_accounting.rdp.RdpAccountant().compose(event).get_epsilon(delta))


def calibrate(event_fn: Callable[[float], dp_accounting.DpEvent], *, target_epsilon: float, delta: float) -> float:
  """Returns the noise multiplier, to 0.1 %, whose event costs at most `target_epsilon` (PLD).

  Raises:
    ValueError: No noise multiplier up to 10,000 reaches it.
  """
  # RDP is looser but 30 times faster: its answer is the upper end of the bracket that PLD searches.
  try:
    upper = dp_accounting.calibrate_dp_mechanism(
        dp_accounting.rdp.RdpAccountant, event_fn, target_epsilon, delta,
        bracket_interval=dp_accounting.ExplicitBracketInterval(1e-2, 1e4), tol=1e-3)
  except ValueError as error:
    raise ValueError(f'target_epsilon={target_epsilon:g} is out of reach at delta={delta:g}: it needs more '
                     'than 10,000 times the clip norm as noise.') from error
  noise = dp_accounting.calibrate_dp_mechanism(
      dp_accounting.pld.PLDAccountant, event_fn, target_epsilon, delta,
      bracket_interval=dp_accounting.LowerEndpointAndGuess(upper / 2, upper), tol=upper * 1e-3)
  return noise if epsilon_pld(event_fn(noise), delta) <= target_epsilon else noise * 1.001


def default_delta(population: int) -> float:
  """Returns population ** -1.1, the field's rule of thumb; below 1 / population."""
  return population ** -1.1


def check_delta(delta: float, *, population: int) -> None:
  """Raises ValueError where `delta` would allow publishing whole clients outright."""
  if delta >= 1 / population:
    raise ValueError(f'delta={delta:g} must be below 1 / population = {1 / population:g}: otherwise a mechanism that '
                     'publishes one client entirely would count as private.')
