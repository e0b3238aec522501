"""The privacy profile delta(epsilon) of a run, and the attack success that it allows.

One pair (epsilon, delta) is a point of a curve. The whole curve bounds the best membership test: at a false-positive
rate a, no attack has a true-positive rate above 1 - f(a), where f is the trade-off function (Dong, Roth & Su 2019,
arXiv:1905.02383, Proposition 2.12)

  f(a) = sup over epsilon of max(0, 1 - delta(epsilon) - exp(epsilon) a, exp(-epsilon) (1 - delta(epsilon) - a)).

Gaussian differential privacy summarises a curve in one number: the smallest mu whose curve is not below this one. For
sampled mechanisms the far tail determines this number, where delta is 1e-30 and a record took part in every round. So
`mu` is the smallest mu whose curve plus `mu_slack` is not below this curve, with the guarantee's own delta as the
slack. If the mechanism is a Gaussian one, mu is exact and the slack is zero (Gomez et al. 2025, arXiv:2503.10945,
report mu in this way).
"""

import dataclasses
import math
from collections.abc import Callable

import dp_accounting
import numpy as np
from scipy import special

from tff_vision import wording
from tff_vision.accounting import accounting, gdp
from tff_vision.accounting.conditions import Relation, Unit
from tff_vision.accounting.ledger_parts import Profile

FALSE_ALARMS = (0.001, 0.01)
_POINTS = 120
_CURVE_FALSE_ALARMS = np.logspace(-4, 0, 41)
_LEAST_DELTA = 1e-3  # The curve is shown down to this fraction of the guarantee's delta.
_WEAK = 10
_DISTRIBUTIONS = 6  # With more kinds of clients, Renyi accounting is used.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promise:
  """The guarantee of a run at every delta. Exactly one of the first three attributes is given.

  Attributes:
    mu: The sensitivity over noise, if the run is a Gaussian mechanism.
    events: One event for each kind of record with a different guarantee; the profile holds for all of them.
    epsilon: Maps delta to epsilon, for mechanisms that have only Renyi accounting.
    relation: The neighbouring relation of the events.
    population: The number of protected records; delta must be far below one over it.
    replaces: Whether the relation is replacing one record; this relation covers changes inside a record.
  """
  mu: float | None = None
  events: tuple[dp_accounting.DpEvent, ...] = ()
  epsilon: Callable[[float], float] | None = None
  relation: Relation = Relation.ADD_OR_REMOVE_ONE
  population: int
  replaces: bool = False


def section(promise: Promise, delta: float, *, unit: Unit) -> Profile | None:
  """Returns the profile of a guarantee; None if epsilon is infinite.

  Args:
    delta: The delta of the guarantee's epsilon.
    unit: The privacy unit (what one record is).
  """
  curve = points(promise, delta)
  if curve is None:
    return None
  epsilons, deltas = curve
  mu = promise.mu if promise.mu is not None else smallest_mu(epsilons, deltas, slack=delta)
  doubled = twice(curve) if unit == Unit.CLIENT and not promise.replaces else None
  return Profile(
      epsilon=tuple(epsilons.tolist()), delta=tuple(deltas.tolist()), mu=mu, mu_exact=promise.mu is not None,
      mu_slack=0.0 if promise.mu is not None else delta,
      true_positive_rate={alarm: _power(promise, curve, alarm) for alarm in FALSE_ALARMS},
      false_positive_rates=tuple(_CURVE_FALSE_ALARMS.tolist()),
      true_positive_rates=tuple(_power(promise, curve, alarm) for alarm in _CURVE_FALSE_ALARMS),
      population=promise.population, warning=weak_delta(delta, promise.population, unit),
      true_positive_rate_example=doubled and {alarm: best_attack(*doubled, alarm) for alarm in FALSE_ALARMS})


def weak_delta(delta: float, population: int, unit: Unit) -> str | None:
  """Returns a warning if delta is more than a tenth of one over the population."""
  if delta <= 1 / (_WEAK * population):
    return None
  return (f'delta = {wording.at_most(delta, ".3g")} is weak for {population} {unit}s: a mechanism that publishes the '
          f'data of each with that probability keeps it; {1 / (_WEAK * population):.2g} or less is better.')


def points(promise: Promise, delta: float) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns increasing epsilons and decreasing deltas at which the guarantee holds; None if epsilon is infinite."""
  least = _LEAST_DELTA * delta
  if promise.mu is not None:
    end = gdp.epsilon(promise.mu, least)
    if not math.isfinite(end):
      return None
    epsilons = np.linspace(0, max(end, 1e-6), _POINTS)
    return epsilons, np.array([gdp.delta(promise.mu, epsilon) if promise.mu else 0.0 for epsilon in epsilons])
  if 0 < len(promise.events) <= _DISTRIBUTIONS and promise.relation != Relation.REPLACE_ONE:
    found = accounting.profile(promise.events, delta, promise.relation, np.linspace(0, 1, _POINTS))
    if found is not None:
      return found
  orders = accounting.QUICK_ORDERS if len(promise.events) > _DISTRIBUTIONS else None
  epsilon = promise.epsilon or accounting.renyi(promise.events, promise.relation, orders)
  deltas = np.logspace(math.log10(0.5), math.log10(least), _POINTS)
  epsilons = np.array([epsilon(at) for at in deltas])
  known = np.isfinite(epsilons)
  if not known.any():
    return None
  epsilons, deltas = epsilons[known], deltas[known]
  # The bound on the total variation distance that each (epsilon, delta) gives.
  at_zero = np.min(deltas + np.tanh(np.minimum(epsilons, 700.0) / 2) * (1 - deltas))
  return np.insert(epsilons, 0, 0.0), np.insert(deltas, 0, max(at_zero, deltas[0]))


def best_attack(epsilons: np.ndarray, deltas: np.ndarray, false_alarms: float) -> float:
  """Returns the largest true-positive rate of any test at this false-positive rate."""
  rising = np.exp(np.minimum(epsilons, 700.0))
  return float(min(1.0, np.min(deltas + rising * false_alarms), np.min(1 - (1 - deltas - false_alarms) / rising)))


def twice(curve: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Returns the curve for two successive changes, such as replacing a record."""
  epsilons, deltas = curve
  return 2 * epsilons, np.minimum(1.0, deltas * (1 + np.exp(np.minimum(epsilons, 700.0))))


def smallest_mu(epsilons: np.ndarray, deltas: np.ndarray, *, slack: float) -> float:
  """Returns the smallest mu whose curve plus `slack` is above the points, and so above the curve between them.

  Between two points the curve lies below the chord in exp(epsilon). The Gaussian curve is convex too and may lie even
  lower. So each point's delta is also used as the bound at the next epsilon.
  """
  least = 0.0
  for epsilon, delta in zip(epsilons[1:], deltas[:-1] - slack, strict=True):
    if delta > 0 and gdp.delta(max(least, 1e-9), epsilon) < delta:
      least = gdp.mu(epsilon, delta) * (1 + 2 * gdp.MARGIN)  # From above.
  return float(least)


def _power(promise, curve, false_alarms):
  if promise.mu is None:
    return best_attack(*curve, false_alarms)
  return float(special.ndtr(special.ndtri(false_alarms) + promise.mu)) if false_alarms < 1 else 1.0
