"""The weighted mean over a secure sum: the sum of weights stands behind the sum of weighted updates.

A weight is divided by the largest one that may occur, which is public, so that a weighted update keeps its range. The
server learns the weighted sum and the sum of weights, and nothing about one client's weight.
"""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff


class SecureMeanFactory(tff.aggregators.WeightedAggregationFactory):
  """Divides a secure sum of weighted updates by the secure sum of weights; zero weight in total gives zero."""

  def __init__(self, sum_factory: tff.aggregators.UnweightedAggregationFactory, *, largest_weight: float):
    """Initializes the factory.

    Args:
      sum_factory: Sums structures of float32.
      largest_weight: No client has a larger weight; one that has fails the round before encryption.
    """
    self._sum_factory = sum_factory
    self._largest_weight = largest_weight

  def create(self, value_type, weight_type):
    summed = self._sum_factory.create(weighted_type(value_type))
    divide = divide_computation(value_type)

    @tff.tensorflow.computation(value_type, weight_type)
    def weighted(value, weight):
      scaled, share = weigh(value, weight, self._largest_weight)
      return collections.OrderedDict(update=scaled, weight=share)

    @tff.federated_computation(summed.initialize.type_signature.result,
                               tff.FederatedType(value_type, tff.CLIENTS), tff.FederatedType(weight_type, tff.CLIENTS))
    def next_fn(state, value, weight):
      output = summed.next(state, tff.federated_map(weighted, (value, weight)))
      return tff.templates.MeasuredProcessOutput(
          output.state, tff.federated_map(divide, output.result), output.measurements)

    return tff.templates.AggregationProcess(summed.initialize, next_fn)


def weighted_type(value_type) -> tff.Type:
  """Returns the type of an update with its weight, as it is summed."""
  return tff.types.to_type(collections.OrderedDict(update=value_type, weight=np.float32))


def weigh(value, weight: tf.Tensor, largest_weight: float):
  """Returns the update times the weight's share of the largest one, and that share; client graph code."""
  share = tf.cast(weight, tf.float32) / largest_weight
  legal = tf.debugging.Assert(tf.logical_and(share >= 0, share <= 1), [
      f'secure sum: a client\'s weight lies outside 0..{largest_weight:g}, the largest number of examples that a '
      'client may have; nothing was encrypted and the round fails.'])
  with tf.control_dependencies([legal]):
    # A client without weight may hold anything, NaN included: it must not matter.
    return tf.nest.map_structure(lambda v: tf.math.multiply_no_nan(v, share), value), share


def divide_computation(value_type) -> tff.Computation:
  """Returns sum -> mean; runs on the server."""

  @tff.tensorflow.computation(weighted_type(value_type))
  def divide(total):
    return tf.nest.map_structure(lambda v: tf.math.divide_no_nan(v, total['weight']), total['update'])

  return divide
