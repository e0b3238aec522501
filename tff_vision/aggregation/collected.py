"""Aggregation by rules that need all updates of a round on the server.

Both factories decode the clients' compressed updates on the server.
"""

import collections
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.aggregation import codecs, flat, rules

CodecFor = Callable[[int], codecs.Codec]  # Takes the length of an update.


class CollectedFactory(tff.aggregators.WeightedAggregationFactory):
  """Passes all updates of a round to a robust rule.

  The server reads single updates, so there is no secure sum and no promise to clients. It uses cohort x payload x 2 of
  memory while it collects, then a few times cohort x model x 4 bytes (x 3 for coordinate rules, x 2 for distances).
  """

  def __init__(self, rule: rules.Rule, codec_for: CodecFor):
    self._rule = rule
    self._codec_for = codec_for

  def create(self, value_type, weight_type):
    codec = self._codec_for(flat.length(value_type))
    write = write_computation(codec, value_type, weight_type)
    collect = flat.build_collect(write.type_signature.result)

    @tff.tensorflow.computation(collect.type_signature.result.member)
    def decide(collected):
      collected = dict(collected)
      weights = collected.pop('weight')
      decided = self._rule(codec.decode_rows(collected), weights)
      return flat.unflatten(tf.ensure_shape(decided, [codec.length]), value_type)

    @tff.federated_computation(tff.FederatedType(value_type, tff.CLIENTS), tff.FederatedType(weight_type, tff.CLIENTS))
    def aggregate(value, weight):
      return tff.federated_map(decide, collect(tff.federated_map(write, (value, weight))))

    return flat.build_stateless(value_type, weight_type, aggregate)


class DecodedMeanFactory(tff.aggregators.WeightedAggregationFactory):
  """The mean of updates that are decoded one by one as they arrive; no clients, or zero total weight, gives zero."""

  def __init__(self, codec_for: CodecFor):
    self._codec_for = codec_for

  def create(self, value_type, weight_type):
    codec = self._codec_for(flat.length(value_type))
    write = write_computation(codec, value_type, weight_type)
    total_type = tff.types.to_type(collections.OrderedDict(
        total=tff.TensorType(np.float32, [codec.length]), weight=np.float32))

    @tff.tensorflow.computation
    def nothing():
      return collections.OrderedDict(total=tf.zeros([codec.length]), weight=tf.constant(0.0))

    @tff.tensorflow.computation(total_type, write.type_signature.result)
    def add(total, sent):
      sent = dict(sent)
      weight = sent.pop('weight')
      return collections.OrderedDict(total=total['total'] + tf.math.multiply_no_nan(codec.decode(sent), weight),
                                     weight=total['weight'] + weight)

    @tff.tensorflow.computation(total_type, total_type)
    def merge(first, second):
      return tf.nest.map_structure(tf.add, first, second)

    @tff.tensorflow.computation(total_type)
    def divide(total):
      return flat.unflatten(tf.math.divide_no_nan(total['total'], total['weight']), value_type)

    @tff.federated_computation(tff.FederatedType(value_type, tff.CLIENTS), tff.FederatedType(weight_type, tff.CLIENTS))
    def aggregate(value, weight):
      return tff.federated_aggregate(tff.federated_map(write, (value, weight)), nothing(), add, merge, divide)

    return flat.build_stateless(value_type, weight_type, aggregate)


def write_computation(codec: codecs.Codec, value_type: tff.Type, weight_type: tff.Type) -> tff.Computation:
  """Returns (update, weight) -> the payload's tensors and `weight`, float32, which a client sends."""
  @tff.tensorflow.computation(value_type, weight_type)
  def write(value, weight):
    return collections.OrderedDict(codec.encode(flat.flatten(value)), weight=tf.cast(weight, tf.float32))

  return write
