"""One-shot canaries: clients with random directions, planted to measure what the mechanism gives away.

Andrew et al. 2023, "One-shot Empirical Privacy Estimation for Federated Learning", arXiv:2302.03098. In d dimensions a
random direction is almost orthogonal to everything else. The cosine between a release and a direction that is not in it
is therefore N(0, 1/d). The shift of the directions that are in it measures what an attacker can learn about one client.
Many canaries share one run.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.accounting import gdp
from tff_vision.privacy.mechanisms import example_work

_CONFIDENCE = 3.29  # One-sided 99.95 %: an audit tests several numbers, and false alarms must be rare.
_LOUD = 1e3  # A canary's update is this many times a model update; correct clipping cuts it.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
  """The result of an audit with canaries.

  Attributes:
    mu: Estimated shift in standard deviations: the mechanism looks mu-GDP.
    mu_low: Lower bound on the shift, with 99.95 % confidence.
    epsilon: Epsilon at mu.
    epsilon_low: Epsilon at mu_low. A mechanism whose theoretical epsilon is lower is broken.
  """
  mu: float
  mu_low: float
  epsilon: float
  epsilon_low: float


def known_round(factory: tff.aggregators.UnweightedAggregationFactory, *, rounds: int, canaries: int, dimension: int,
                delta: float, seed: int) -> Finding:
  """Returns what an attacker learns about a client that took part once, in a round that the attacker knows.

  Uses two statistics, see `_strongest`. The second one detects noise that is used twice.

  Args:
    factory: The mechanism, without its sampler.
    rounds: Number of rounds that are run; the canaries are spread over them.
    canaries: Total number of canaries.
    dimension: Size of an update; must be much larger than `canaries`.
  """
  turns = np.arange(canaries) % rounds
  releases, directions = _run(factory, lambda number: np.flatnonzero(turns == number), rounds, canaries,
                              dimension, seed)
  return _strongest(releases, directions, turns, delta)


def known_step(training: example_work.ExampleSgd, *, steps: int, canaries: int, dimension: int, delta: float, seed: int
               ) -> Finding:
  """Returns what an attacker learns about an example in a known step of private SGD.

  The client's own code trains a linear model without bias under the loss -w x, whose gradient is the example.

  Args:
    training: The training under audit; its batches are made large enough to hold every canary of a step.
    steps: Number of steps that are run, each from the initial state; the canaries are spread over them.
    canaries: Total number of canaries, which are examples with random directions.
    dimension: Size of an example; must be much larger than `canaries`.
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
  """Returns what the sum of all releases reveals about clients that are sampled as in the run.

  Args:
    factory: The mechanism.
    cohort: Function from the round number (from 1) to the clients of the round; every client is a canary.
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
  """Returns the stronger of two results: from each canary's own release, and from its difference to the one before."""
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
  # The standard deviation of the estimate, at least that of pure noise.
  error = max(float(shifts.std()), 1.0) / math.sqrt(len(shifts))
  mu_low = max(mu - _CONFIDENCE * error, 0.0)
  return Finding(mu=mu, mu_low=mu_low, epsilon=gdp.epsilon(mu, delta), epsilon_low=gdp.epsilon(mu_low, delta))
