"""Robust aggregation rules: from all updates of a round, stacked on the server, to one update.

Each rule is a pure function of `rows` [n, length] float32 and `weights` [n] float32, and returns [length]. Rows with
weight zero or with a non-finite value are ignored; if no row is left, the result is zeros. Only built-in TensorFlow
kernels are used.

Coordinate median and trimmed mean: Yin et al., "Byzantine-Robust Distributed Learning", ICML 2018, definitions 1, 2.
Krum and multi-Krum: Blanchard et al., "Machine Learning with Adversaries", NIPS 2017, section 4 and 5. Geometric
median: Pillutla et al., "Robust Aggregation for Federated Learning", IEEE TSP 2022, algorithm 2.
"""

import functools
from collections.abc import Callable, Mapping

import tensorflow as tf

from tff_vision import catalogue
from tff_vision.configs import aggregation_config

Rule = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_SMOOTHING = 1e-6  # The paper's nu: smaller distances count as this one.
_MOST_STEPS = 100
_STEP_ENDS = 1e-6  # Relative to the length of the median.


def build_rule(config: aggregation_config.AggregationConfig) -> Rule:
  """Returns the rule that `config.aggregator` names, with its parameters."""
  return functools.partial(_on_present, RULES[config.aggregator](config))


def trimmed_mean(rows: tf.Tensor, weights: tf.Tensor, *, fraction: float) -> tf.Tensor:
  """Returns the mean of each coordinate without `fraction` of the weight at each end.

  A value at the border counts with the part of its weight that lies inside, so any number of clients works with any
  fraction. With equal weights and a whole number of clients to trim, this is the paper's definition.
  """
  values, shares = _sorted_columns(rows, weights)
  total = tf.reduce_sum(weights)
  above = tf.cumsum(shares, axis=1)
  kept = tf.minimum(above, (1 - fraction) * total) - tf.maximum(above - shares, fraction * total)
  kept = tf.maximum(kept, 0.0)
  return tf.math.divide_no_nan(tf.reduce_sum(tf.math.multiply_no_nan(values, kept), axis=1),
                               tf.reduce_sum(kept, axis=1))


def median(rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
  """Returns the weighted median of each coordinate; the midpoint where half of the weight lies on each side."""
  values, shares = _sorted_columns(rows, weights)
  above = tf.cumsum(shares, axis=1)
  half = tf.reduce_sum(weights) / 2
  last = tf.shape(rows)[0] - 1

  def value_after(passed):
    position = tf.minimum(tf.reduce_sum(tf.cast(passed, tf.int32), axis=1), last)
    return tf.gather(values, position, batch_dims=1)

  lower, upper = value_after(above < half), value_after(above <= half)
  return lower / 2 + upper / 2


def multi_krum(rows: tf.Tensor, weights: tf.Tensor, *, fraction: float, only_best: bool) -> tf.Tensor:
  """Returns the weighted mean of the updates that are closest to their neighbours.

  A client's score is the sum of squared distances to its n - f - 2 nearest other clients; f is the tolerated number.

  Args:
    fraction: f / n; f is rounded up.
    only_best: Krum takes only the update with the best score, multi-Krum the n - f best.
  """
  count = tf.shape(rows)[0]
  # A product such as 0.1 * 30, which is above 3 in floating point, must not be rounded up.
  tolerated = tf.cast(tf.math.ceil(fraction * tf.cast(count, tf.float64) - 1e-6), tf.int32)
  distances = tf.map_fn(lambda row: tf.reduce_sum(tf.square(rows - row), axis=1), rows)
  neighbours = tf.minimum(tf.maximum(count - tolerated - 2, 1), count - 1)
  # The first sorted distance is that of a client to itself.
  scores = tf.reduce_sum(tf.sort(distances, axis=1)[:, 1:1 + neighbours], axis=1)
  best = tf.argsort(scores, stable=True)[:1 if only_best else tf.maximum(count - tolerated, 1)]
  return _mean(tf.gather(rows, best), tf.gather(weights, best))


def geometric_median(rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
  """Returns the point with the least weighted sum of distances to the updates, by the smoothed Weiszfeld algorithm.

  It starts at zero, the unchanged model, and ends after 100 steps, or when a step is shorter than a millionth of the
  median's length.
  """
  def step(point, moved, number):
    del moved
    distances = tf.norm(rows - point, axis=1)
    following = _mean(rows, weights / tf.maximum(distances, _SMOOTHING))
    return following, tf.norm(following - point), number + 1

  def unfinished(point, moved, number):
    return tf.logical_and(number < _MOST_STEPS, moved > _STEP_ENDS * tf.norm(point))

  zero = tf.zeros_like(rows[0])
  return tf.while_loop(unfinished, step, step(zero, 0.0, 0))[0]


def _on_present(rule, rows, weights):
  present = tf.logical_and(weights > 0, tf.reduce_all(tf.math.is_finite(rows), axis=1))
  rows, weights = tf.boolean_mask(rows, present), tf.boolean_mask(weights, present)
  return tf.cond(tf.size(weights) > 0, lambda: rule(rows, weights), lambda: tf.zeros(tf.shape(rows)[1:]))


def _sorted_columns(rows, weights):
  """Returns [length, n] twice: each coordinate's values in ascending order, and the weight of each value."""
  columns = tf.transpose(rows)
  order = tf.argsort(columns, axis=1)
  return tf.gather(columns, order, batch_dims=1), tf.gather(weights, order)


def _mean(rows, weights):
  weights = weights[:, None]
  return tf.math.divide_no_nan(tf.reduce_sum(tf.math.multiply_no_nan(rows, weights), axis=0), tf.reduce_sum(weights))


def build_median(config: aggregation_config.AggregationConfig) -> Rule:
  """Returns `median`."""
  del config
  return median


def build_trimmed_mean(config: aggregation_config.AggregationConfig) -> Rule:
  """Returns `trimmed_mean` of the tolerated fraction."""
  return functools.partial(trimmed_mean, fraction=config.tolerated_fraction)


def build_krum(config: aggregation_config.AggregationConfig) -> Rule:
  """Returns Krum for the tolerated fraction."""
  return functools.partial(multi_krum, fraction=config.tolerated_fraction, only_best=True)


def build_multi_krum(config: aggregation_config.AggregationConfig) -> Rule:
  """Returns multi-Krum for the tolerated fraction."""
  return functools.partial(multi_krum, fraction=config.tolerated_fraction, only_best=False)


def build_geometric_median(config: aggregation_config.AggregationConfig) -> Rule:
  """Returns `geometric_median`."""
  del config
  return geometric_median


RULES: Mapping[str, Callable[[aggregation_config.AggregationConfig], Rule]] = catalogue.Loaded(
    'aggregator', trait=catalogue.Trait.RULE)
