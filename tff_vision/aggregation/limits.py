"""Operations on single client updates before the sum: norm clipping and thresholds. Secure sums support them.

Norm clipping: Sun et al., "Can You Really Backdoor Federated Learning?", 2019, arXiv:1911.07963, section 4. In a
deployment an attacker skips its own limit, so clipping withstands attackers only if the receiver of single updates
applies it again. (TFF's `clipping_factory` and `zeroing_factory` do the same and count the affected clients, in the
clear.)
"""

from collections.abc import Callable, Mapping

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import catalogue
from tff_vision.configs import aggregation_config

Limit = Callable[[list[tf.Tensor], float], list[tf.Tensor]]
Aggregator = tff.aggregators.UnweightedAggregationFactory | tff.aggregators.WeightedAggregationFactory


def clip(tensors: list[tf.Tensor], bound: float) -> list[tf.Tensor]:
  """Returns the update, scaled down to L2 norm `bound` if it is longer."""
  factor = bound / tf.maximum(tf.linalg.global_norm(tensors), bound)
  # 0 * inf gives zero here: an update of infinite norm becomes zero.
  return [tf.math.multiply_no_nan(tensor, tf.cast(factor, tensor.dtype)) for tensor in tensors]


def zero(tensors: list[tf.Tensor], bound: float) -> list[tf.Tensor]:
  """Returns the update, or zeros if its L2 norm exceeds `bound`; its weight still counts."""
  inside = tf.linalg.global_norm(tensors) <= bound
  return [tf.where(inside, tensor, tf.zeros_like(tensor)) for tensor in tensors]


LIMITS: Mapping[str, Limit] = catalogue.Loaded('aggregator', trait=catalogue.Trait.LIMIT)


def limited(aggregator: Aggregator, config: aggregation_config.AggregationConfig) -> Aggregator:
  """Returns the aggregator with the limit that `config.aggregator` names before it; unchanged if that is no limit."""
  if config.aggregator not in LIMITS:
    return aggregator
  limit, bound = LIMITS[config.aggregator], config.update_norm_bound
  if isinstance(aggregator, tff.aggregators.WeightedAggregationFactory):
    return _LimitedWeighted(aggregator, limit, bound)
  return _Limited(aggregator, limit, bound)


class _Limited(tff.aggregators.UnweightedAggregationFactory):

  def __init__(self, inner, limit, bound):
    self._inner, self._limit, self._bound = inner, limit, bound

  def create(self, value_type):
    inner, limit = self._inner.create(value_type), _computation(value_type, self._limit, self._bound)

    @tff.federated_computation(inner.initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      return inner.next(state, tff.federated_map(limit, value))

    return tff.templates.AggregationProcess(inner.initialize, next_fn)


class _LimitedWeighted(tff.aggregators.WeightedAggregationFactory):

  def __init__(self, inner, limit, bound):
    self._inner, self._limit, self._bound = inner, limit, bound

  def create(self, value_type, weight_type):
    inner, limit = self._inner.create(value_type, weight_type), _computation(value_type, self._limit, self._bound)

    @tff.federated_computation(inner.initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS),
                               tff.FederatedType(weight_type, tff.CLIENTS))
    def next_fn(state, value, weight):
      return inner.next(state, tff.federated_map(limit, value), weight)

    return tff.templates.AggregationProcess(inner.initialize, next_fn)


def _computation(value_type, limit, bound):
  @tff.tensorflow.computation(value_type)
  def limited_value(value):
    return tf.nest.pack_sequence_as(value, limit(tf.nest.flatten(value), bound))

  return limited_value
