"""One-shot canaries: clients with random directions, planted to measure what the mechanism gives away.

Andrew et al. 2023, "One-shot Empirical Privacy Estimation for Federated Learning", arXiv:2302.03098. In d dimensions a
random direction is almost orthogonal to everything else, so the cosine between a release and a direction that is not
in it is N(0, 1/d); the shift of those that are in it is what can be told about one client. Many canaries share one run.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.accounting import gdp
from tff_vision.privacy.mechanisms import example_work

_CONFIDENCE = 3.29  # One-sided 99.95 %: an audit looks at several numbers, and an alarm must mean something.
_LOUD = 1e3  # A canary's update is so many times what a model update would be: an honest clip cuts it.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
  """What canaries show.

  Attributes:
    mu: Estimated shift in standard deviations: the mechanism looks mu-GDP.
    mu_low: What the shift exceeds with 99.95 % confidence.
    epsilon: At mu.
    epsilon_low: At mu_low; a mechanism whose theory lies below it is broken.
  """
  mu: float
  mu_low: float
  epsilon: float
  epsilon_low: float


def known_round(factory: tff.aggregators.UnweightedAggregationFactory, *, rounds: int, canaries: int, dimension: int,
                delta: float, seed: int) -> Finding:
  """Returns what can be told about a client that took one turn, in a round that the attacker knows.

  Two statistics, see `_strongest`; the second finds noise that is used again.

  Args:
    factory: The mechanism, without its sampler.
    rounds: How many are run; canaries are spread over them.
    canaries: Planted in all.
    dimension: Of an update; large beside `canaries`.
  """
  turns = np.arange(canaries) % rounds
  releases, directions = _run(factory, lambda number: np.flatnonzero(turns == number), rounds, canaries,
                              dimension, seed)
  return _strongest(releases, directions, turns, delta)


def known_step(training: example_work.ExampleSgd, *, steps: int, canaries: int, dimension: int, delta: float, seed: int
               ) -> Finding:
  """Returns what can be told about an example in a step of private SGD that the attacker knows it to be in.

  The client's own code trains a linear model without bias under the loss -w x, whose gradient is the example.

  Args:
    training: What is audited; its batches are made large enough to hold every canary of a step.
    steps: How many are run, each from the start; canaries are spread over them.
    canaries: Planted in all, as examples with random directions.
    dimension: Of an example; large beside `canaries`.
  """
  directions = _directions(canaries, dimension, seed)
  model = tf.keras.Sequential([tf.keras.layers.Input((dimension,)),
                               tf.keras.layers.Dense(1, use_bias=False, kernel_initializer='zeros')])
  start = tf.nest.map_structure(tf.identity, tff.learning.models.ModelWeights.from_model(model))
  client = example_work.build_train_fn(
      model, lambda y, outputs: -outputs[:, 0], tff.learning.optimizers.build_sgdm(1.0),
      dataclasses.replace(training, epochs=1, batch_size=canaries, ghost=True))
  turns, releases = np.arange(canaries) % steps, []
  for number in range(steps):
    own = directions[turns == number]
    update = client(start, tf.constant(_LOUD * own), tf.zeros(len(own), tf.int32)).update
    releases.append(-tf.nest.flatten(update)[0].numpy()[:, 0].astype(np.float64))
  return _strongest(np.array(releases), directions, turns, delta)


def whole_run(factory: tff.aggregators.UnweightedAggregationFactory, cohort: Callable[[int], np.ndarray], *,
              population: int, rounds: int, dimension: int, delta: float, seed: int) -> Finding:
  """Returns what the sum of all releases tells about clients drawn as the run draws them.

  Args:
    factory: The mechanism.
    cohort: round number, from 1 -> clients; every client is a canary.
    population: Number of clients.
  """
  releases, directions = _run(factory, lambda number: cohort(number + 1), rounds, population, dimension, seed)
  total = releases.sum(0)
  return _finding(_shifts(np.broadcast_to(total, directions.shape), directions), delta)


def _run(factory, members, rounds, canaries, dimension, seed):
  """Returns the releases, [rounds, dimension], and the canaries' directions, [canaries, dimension]."""
  directions = _directions(canaries, dimension, seed)
  process = factory.create(tff.TensorType(np.float32, [dimension]))
  state, releases = process.initialize(), []
  for number in range(rounds):
    output = process.next(state, [_LOUD * directions[client] for client in members(number)])
    state = output.state
    releases.append(np.asarray(output.result, np.float64))
  return np.array(releases), directions


def _strongest(releases, directions, turns, delta):
  """Returns what each canary's own release shows, or its difference from the one before, whichever is more."""
  before = np.concatenate([np.zeros((1, releases.shape[1])), releases[:-1]])
  return max((_finding(_shifts(statistic[turns], directions), delta) for statistic in (releases, releases - before)),
             key=lambda finding: finding.mu_low)


def _directions(canaries, dimension, seed):
  directions = np.random.default_rng(seed).normal(size=(canaries, dimension)).astype(np.float32)
  return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _shifts(releases, directions):
  """Returns cosines in units of the standard deviation of a direction that took no part."""
  products = (releases * directions).sum(1)
  return products / np.maximum(np.linalg.norm(releases, axis=1), 1e-300) * math.sqrt(directions.shape[1])


def _finding(shifts, delta):
  mu = max(float(shifts.mean()), 0.0)
  # The estimate's own deviation, and never less than pure noise would have.
  error = max(float(shifts.std()), 1.0) / math.sqrt(len(shifts))
  mu_low = max(mu - _CONFIDENCE * error, 0.0)
  return Finding(mu=mu, mu_low=mu_low, epsilon=gdp.epsilon(mu, delta), epsilon_low=gdp.epsilon(mu_low, delta))
