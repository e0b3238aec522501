"""Privacy losses of runs in a form that composes exactly and can be stored. No TensorFlow.

A loss is a `dp_accounting` event, or Renyi divergences if no event is known. All losses use one neighbouring relation:
one record is zeroed out ("zero out one client", or "one example"). For a sum with a fixed denominator this is the same
as adding or removing a record, and replacing a record includes it.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import attr
import dp_accounting
import numpy as np
from dp_accounting import dp_event, rdp

from tff_vision.accounting import accounting, cohort_sizes, events, gdp
from tff_vision.accounting.conditions import Unit

ORDERS = tuple(rdp.rdp_privacy_accountant.DEFAULT_RDP_ORDERS)
# The classes that can be stored, by name: dp-accounting's events, ours, and the classes that they contain.
_WRITTEN = {cls.__name__: cls for cls in (
    *(cls for cls in vars(dp_event).values() if isinstance(cls, type) and issubclass(cls, dp_accounting.DpEvent)),
    events.TruncatedPoissonGaussianDpEvent, events.AllocatedGaussianDpEvent, cohort_sizes.Sizes)}
_LARGEST = 300.0  # No guarantee beyond this epsilon: exp(-epsilon) times delta would be too small.
# The fractions of delta for two parts that no accountant can compose together.
_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
  """The privacy loss of one record in one run.

  Attributes:
    event: The run's event, or None.
    divergences: Renyi divergences at `ORDERS`, if there is no event.
  """
  event: dp_accounting.DpEvent | None = None
  divergences: tuple[float, ...] | None = None

  def to_json(self) -> Mapping[str, Any]:
    """Returns the loss as JSON types, from which `from_json` makes an equal one.

    Raises:
      ValueError: This kind of event cannot be stored.
    """
    if self.event is None:
      return {'renyi': list(self.divergences)}
    return {'event': _event_to_json(self.event)}

  @classmethod
  def from_json(cls, content: Mapping[str, Any]) -> 'Loss':
    """Returns the loss that `to_json` wrote.

    Raises:
      ValueError: The content is not a loss that `to_json` writes.
    """
    if 'renyi' in content:
      if len(content['renyi']) != len(ORDERS):
        raise ValueError('divergences at other orders.')
      return cls(divergences=tuple(map(float, content['renyi'])))
    return cls(event=_event_from_json(content['event']))

  @functools.cached_property
  def renyi(self) -> np.ndarray:
    """Returns the Renyi divergences at `ORDERS`."""
    if self.event is None:
      return np.array(self.divergences)
    return _renyi_of(self.event)

  @property
  def has_distribution(self) -> bool:
    """Whether its privacy loss distribution is known."""
    return self.event is not None and events.PldAccountant().supports(self.event)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spent:
  """The privacy cost of one run, separately for each client if clients differ.

  Attributes:
    unit: The privacy unit (what one record is).
    kinds: The different losses.
    kind_of: For each client, the index in `kinds` of its loss (or its examples' loss); empty if all have the same loss.
  """
  unit: Unit
  kinds: tuple[Loss, ...]
  kind_of: tuple[int, ...] = ()

  @functools.cached_property
  def largest(self) -> Loss:
    """A loss that is at least as large as every client's loss."""
    if len(self.kinds) == 1:
      return self.kinds[0]
    return Loss(divergences=tuple(np.max([kind.renyi for kind in self.kinds], axis=0)))


def best_of_random_runs(cells: Sequence[Spent], mean: float) -> Spent:
  """Returns the cost of releasing only the best of a random number of runs, where each run has a random cell.

  The number of runs is drawn from the geometric distribution with this mean, independently of the data: Papernot and
  Steinke, "Hyperparameter Tuning with Renyi Differential Privacy", ICLR 2022 (arXiv:2110.03620), Theorem 2 with
  eta = 1. This is `RepeatAndSelectDpEvent` with shape 1, for runs that may have different events.

  Args:
    cells: The cost of a run of each cell; all with the same unit.
  """
  orders = np.array(ORDERS)
  once = np.max([cell.largest.renyi for cell in cells], axis=0)
  found = once + math.log(mean) / (orders - 1) + 2 * np.min((1 - 1 / orders) * once + math.log(mean) / orders)
  # A divergence grows with its order, so the divergences at larger orders are upper bounds.
  found = np.minimum.accumulate(found[::-1])[::-1]
  return Spent(unit=cells[0].unit, kinds=(Loss(divergences=tuple(map(float, found))),))


class Composition:
  """Losses of one record, composed."""

  def __init__(self, losses: Sequence[Loss]):
    self._losses = tuple(losses)
    self._found: dict[float, float] = {}

  @property
  def empty(self) -> bool:
    return not self._losses

  def renyi_epsilon(self, delta: float) -> float:
    """Returns epsilon by Renyi accounting: quick to compute, and never too small."""
    return _renyi_epsilon(self._losses, delta)

  def epsilon(self, delta: float) -> float:
    """Returns the smallest known upper bound on epsilon.

    Losses with a privacy loss distribution are composed with it; purely Gaussian losses are composed in closed form.
    Renyi divergences compose all losses. If some losses have no distribution, the epsilons of both parts are added, and
    delta is divided between them.
    """
    if delta not in self._found:
      self._found[delta] = self._epsilon(delta)
    return self._found[delta]

  def _epsilon(self, delta):
    if not self._losses:
      return 0.0
    mus = [_gaussian_mu(loss.event) for loss in self._losses]
    if None not in mus:
      return gdp.epsilon(math.sqrt(sum(mu * mu for mu in mus)), delta)
    best = self.renyi_epsilon(delta)
    if not math.isfinite(best):
      return math.inf
    others = [loss for loss in self._losses if not loss.has_distribution]
    if not others:
      return min(best, self._distribution.get_epsilon(delta))
    if self._distribution is None:
      return best
    return min(best, *(self._distribution.get_epsilon(share * delta) + _renyi_epsilon(others, (1 - share) * delta)
                       for share in _SHARES))

  @functools.cached_property
  def _distribution(self):
    """Returns an accountant that has composed the losses with a distribution, or None."""
    found = [loss.event for loss in self._losses if loss.has_distribution]
    if not found:
      return None
    expected = self.renyi_epsilon(1e-6)
    accountant = events.PldAccountant(value_discretization_interval=max(accounting.FINE_INTERVAL, expected / 2e5))
    for event in found:
      accountant.compose(event)
    return accountant


def example_epsilon(everything: Composition, of_clients: Composition, delta: float, *, quick: bool = False) -> float:
  """Returns epsilon of one example over runs that protect examples or whole clients.

  In a run with client-level privacy, changing one example changes one client's update within its bound: the client is
  zeroed out, then added again with the change. So the two data sets are two steps apart, with the release without the
  client in between. The first step costs in all runs; the second step costs in the client-level runs. Steps of
  (e1, d1) and (e2, d2) give (e1 + e2, d1 + exp(e1) d2) together; the division of delta is chosen to minimise epsilon.

  Args:
    everything: The losses of the example in all runs.
    of_clients: The losses among them from runs with client-level privacy.
    quick: Use Renyi accounting; the result is never smaller.
  """
  first_of, second_of = ((part.renyi_epsilon if quick else part.epsilon) for part in (everything, of_clients))
  if of_clients.empty:
    return first_of(delta)
  best = math.inf
  for share in _SHARES:
    first = first_of(share * delta)
    if first < _LARGEST:
      best = min(best, first + second_of((1 - share) * delta * math.exp(-first)))
  return best


def _renyi_epsilon(losses, delta):
  total = sum((loss.renyi for loss in losses), start=np.zeros(len(ORDERS)))
  if not np.isfinite(total).any():
    return math.inf
  return float(rdp.compute_epsilon(ORDERS, total, delta)[0])


@functools.lru_cache(256)
def _renyi_of(event):
  for relation in (dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, dp_accounting.NeighboringRelation.REPLACE_ONE):
    accountant = events.RdpAccountant(ORDERS, neighboring_relation=relation)
    if accountant.supports(event):
      accountant.compose(event)
      return np.array(accountant.rdp)
  raise ValueError(f'no accountant knows {event}.')


def _gaussian_mu(event):
  """Returns mu of plain Gaussian releases; None for any other event."""
  if isinstance(event, dp_accounting.NoOpDpEvent):
    return 0.0
  if isinstance(event, dp_accounting.SelfComposedDpEvent):
    once = _gaussian_mu(event.event)
    return None if once is None else math.sqrt(event.count) * once
  if isinstance(event, dp_accounting.GaussianDpEvent):
    return 1 / event.noise_multiplier if event.noise_multiplier else math.inf
  return None


def _event_to_json(event):
  name = type(event).__name__
  if _WRITTEN.get(name) is not type(event):
    raise ValueError(f'{event} is no event that can be written down.')
  return {'type': name, **{field: _value_to_json(getattr(event, field)) for field in _fields(type(event))}}


def _value_to_json(value):
  if type(value) in _WRITTEN.values():
    return _event_to_json(value)
  if isinstance(value, (list, tuple)):
    return [_value_to_json(one) for one in value]
  return value.item() if isinstance(value, np.generic) else value


def _event_from_json(content):
  values = dict(content)
  cls = _WRITTEN.get(values.pop('type', None))
  if cls is None or set(_fields(cls)) != values.keys():
    raise ValueError('an event of no known kind.')
  return cls(**{key: _value_from_json(value) for key, value in values.items()})


def _fields(cls):
  return [field.name for field in (dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else attr.fields(cls))]


def _value_from_json(value):
  if isinstance(value, dict):
    return _event_from_json(value)
  return [_value_from_json(one) for one in value] if isinstance(value, list) else value
