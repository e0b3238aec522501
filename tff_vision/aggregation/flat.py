"""Flattens updates to one vector and back, and stacks the updates of a round on the server."""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff


def length(value_type: tff.Type) -> int:
  """Returns the number of values in an update of this type."""
  return sum(spec.shape.num_elements() for spec in _specs(value_type))


def flatten(value) -> tf.Tensor:
  """Returns all values of an update as one float32 vector."""
  return tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tf.nest.flatten(value)], axis=0)


def unflatten(vector: tf.Tensor, value_type: tff.Type):
  """Returns the update of `value_type` whose values `vector` holds."""
  specs = _specs(value_type)
  parts = tf.split(vector, [spec.shape.num_elements() for spec in specs])
  return tf.nest.pack_sequence_as(tff.types.type_to_tf_tensor_specs(value_type), [
      tf.cast(tf.reshape(part, spec.shape), spec.dtype) for part, spec in zip(parts, specs, strict=True)])


def build_collect(item_type: tff.Type) -> tff.Computation:
  """Returns {item}@CLIENTS -> items@SERVER; each tensor gets one more axis, of the clients that delivered.

  It is an aggregation that appends, because TFF 0.87 has no other way to collect. It can be split over workers like a
  sum. The server holds all items of the round at once, and two copies of them while it appends.

  Args:
    item_type: A mapping of names to tensors.
  """
  specs = tff.types.type_to_tf_tensor_specs(item_type)
  stacked_type = tff.types.to_type(collections.OrderedDict(
      (name, tff.TensorType(spec.dtype.as_numpy_dtype, [None, *spec.shape])) for name, spec in specs.items()))

  @tff.tensorflow.computation
  def nothing():
    # TFF must not know the number of rows.
    return collections.OrderedDict((name, tf.compat.v1.placeholder_with_default(
        np.zeros([0, *spec.shape], spec.dtype.as_numpy_dtype), [None, *spec.shape])) for name, spec in specs.items())

  @tff.tensorflow.computation(stacked_type, item_type)
  def append(stacked, item):
    return collections.OrderedDict((name, tf.concat([stacked[name], item[name][None]], axis=0)) for name in specs)

  @tff.tensorflow.computation(stacked_type, stacked_type)
  def merge(first, second):
    return collections.OrderedDict((name, tf.concat([first[name], second[name]], axis=0)) for name in specs)

  @tff.tensorflow.computation(stacked_type)
  def same(stacked):
    return stacked

  @tff.federated_computation(tff.FederatedType(item_type, tff.CLIENTS))
  def collect(items):
    return tff.federated_aggregate(items, nothing(), append, merge, same)

  return collect


def build_stateless(value_type: tff.Type, weight_type: tff.Type, aggregate: tff.Computation
                    ) -> tff.templates.AggregationProcess:
  """Returns an aggregation process without state or measurements.

  Args:
    aggregate: (values@CLIENTS, weights@CLIENTS) -> result@SERVER.
  """
  @tff.federated_computation
  def initialize():
    return tff.federated_value((), tff.SERVER)

  @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS),
                             tff.FederatedType(weight_type, tff.CLIENTS))
  def next_fn(state, value, weight):
    return tff.templates.MeasuredProcessOutput(state, aggregate(value, weight), tff.federated_value((), tff.SERVER))

  return tff.templates.AggregationProcess(initialize, next_fn)


def _specs(value_type) -> list[tf.TensorSpec]:
  return tf.nest.flatten(tff.types.type_to_tf_tensor_specs(value_type))
