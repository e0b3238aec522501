"""What each client contributed to a model, as Shapley values of a game between the clients of each round.

In a round, the value of a coalition is the metric on the test set of the model that its members alone would have made:
the model before the round, plus the weighted mean of their updates. What a client adds in all rounds is its
contribution: the multi-round reconstruction of Song, Tong and Wei, "Profit Allocation for Federated Learning", IEEE Big
Data 2019. Values of a round add up to the metric after it minus that before it, so all of them add up to the metric of
the final model minus that of the first.

It needs the single updates, so it is for simulations in which nothing is promised.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import configs, objectives, protocols, seeds
from tff_vision.data import images
from tff_vision.learning import evaluation
from tff_vision.measures import shapley

EXACT_UP_TO = 6  # Clients of a round; more have too many coalitions.
# How much the way of the model may differ from the mean of the updates: a share of it, and a few roundings of weights.
_TOLERANCE, _ROUNDING = 1e-3, 1e-6


class _NotFinite(Exception):
  """A coalition's model has no finite value of the metric."""


class Contribution:
  """Values the clients of each round.

  Attributes:
    metric: The metric that contributions add up to; the values of one that is better when lower are negated.
  """

  def __init__(self, config: configs.AggregationConfig, *, server_rate: float, evaluator: evaluation.Evaluator,
               objective: objectives.Objective, test: images.HeldOut, seed: int):
    """Args: `test` are the examples that a coalition's model is evaluated on.

    Raises:
      ValueError: The task has no such metric, or there are no test examples.
    """
    self.metric = metric_of(config, objective, test)
    self._config, self._rate, self._seed = config, server_rate, seed
    self._evaluator, self._test = evaluator, images.HeldOut(examples=test.examples, clients=())

  def of_round(self, round_num: int, before: protocols.Weights, metrics: Mapping[str, Any], after: protocols.Weights,
               clients: Sequence[int]) -> dict[str, Any]:
    """Returns the round's entry for its record: `clients`, their `values`, and the metric `before` and `after`.

    Where the metric of some coalition's model is not a finite number, the game has no values: `values`, `before` and
    `after` are then None. The evaluator's model keeps its weights.

    Args:
      before: The model before the round.
      metrics: What the round measured; `aggregator` are the measurements of `single_updates`.
      after: The model after the round.
      clients: The clients of the round, in the order of their updates.

    Raises:
      ValueError: The mean of the updates is not what moved the model.
    """
    updates, weights = (np.asarray(metrics['aggregator'][name], np.float64) for name in ('updates', 'weights'))
    held = [weight.numpy() for weight in self._evaluator.model.trainable_weights]
    start, end = _flat(before), _flat(after)

    def model(members):
      chosen = sorted(members)
      total = weights[chosen].sum() if chosen else 0.0
      return start if not total else start - self._rate * (weights[chosen] @ updates[chosen]) / total

    # A client of weight 0 changes no coalition's model.
    counted = frozenset(np.flatnonzero(weights).tolist())
    everybody = frozenset(range(len(clients)))
    is_finite = np.isfinite(end).all() and np.isfinite(updates).all()
    if len(updates) != len(clients) or is_finite and not _is_same_way(model(everybody) - start, end - start, start):
      raise ValueError(f'contribution={self._config.contribution} does not go with this algorithm: the mean of its '
                       'updates is not what moves the model.')

    @functools.cache
    def value_of(members):
      return self._value(model(members), [np.shape(part) for part in held])

    def value(members):
      return value_of(members & counted)

    entry = {'clients': list(map(int, clients)), 'values': None, 'before': None, 'after': None}
    try:
      if is_finite:
        found = self._shapley(len(clients), value, round_num)
        entry |= {'values': found, 'before': value(frozenset()), 'after': value(everybody)}
    except _NotFinite:
      pass
    finally:
      for weight, number in zip(self._evaluator.model.trainable_weights, held, strict=True):
        weight.assign(number)
    return entry | {'evaluations': value_of.cache_info().currsize}

  def _shapley(self, clients, value, round_num):
    if clients <= EXACT_UP_TO:
      return shapley.exact(clients, value).tolist()
    return shapley.by_orders(
        clients, value, orders=self._config.contribution_permutations, tolerance=self._config.contribution_tolerance,
        rng=np.random.default_rng(seeds.derive(self._seed, 'contribution', round_num))).tolist()

  def _value(self, flat, shapes):
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(flat.astype(np.float32), ends[:-1])
    for weight, part, shape in zip(self._evaluator.model.trainable_weights, parts, shapes, strict=True):
      weight.assign(part.reshape(shape))
    number = self._evaluator.evaluate(self._test)['evaluation'].get(self.metric.name)
    if number is None or not np.isfinite(number):
      raise _NotFinite
    return self.metric.goodness(float(number))


def metric_of(config: configs.AggregationConfig, objective: objectives.Objective, test: images.HeldOut
              ) -> objectives.Metric:
  """Returns the metric that contributions add up to.

  Raises:
    ValueError: The task has no such metric, or there are no test examples.
  """
  names = {one.name: one for one in objectives.metric.of(objective)}
  chosen = config.contribution_metric or objective.metric
  if chosen not in names:
    raise ValueError(f'contribution_metric={chosen} is no number of task={objective.task}; choose '
                     f'{" or ".join(names)}.')
  if not len(test.examples):
    raise ValueError(f'contribution={config.contribution} needs test examples on this machine, and there are none.')
  return names[chosen]


def totals(history: Sequence[Mapping[str, Any]], clients: int) -> list[float]:
  """Returns what each of `clients` clients contributed over the rounds of a history that have values.

  It is 0 for a client that took part in none of them.
  """
  found = np.zeros(clients)
  for entry in history:
    if (of_round := entry.get('contribution', {})).get('values') is not None:
      np.add.at(found, np.asarray(of_round['clients'], int), np.asarray(of_round['values'], float))
  return found.tolist()


def _is_same_way(first, second, start):
  """Returns whether both move the model from `start` alike, up to a share of the way and the rounding of float32."""
  longest = max(np.abs(first).max(), np.abs(second).max())
  return np.abs(first - second).max() <= _TOLERANCE * longest + _ROUNDING * (1 + np.abs(start).max())


def _flat(weights):
  return np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in weights.trainable])
