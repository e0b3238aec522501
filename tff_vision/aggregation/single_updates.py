"""An aggregator that also gives the single updates of a round to the server, for simulations that compare clients."""

import collections

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.aggregation import flat

UPDATES, WEIGHTS = 'updates', 'weights'


class SingleUpdatesFactory(tff.aggregators.WeightedAggregationFactory):
  """The same result as of another factory; measured are `updates`, [clients, length], and `weights`, [clients].

  The rows are in the order of the round's clients; the server holds all of them.
  """

  def __init__(self, inner: tff.aggregators.WeightedAggregationFactory):
    self._inner = inner

  def create(self, value_type, weight_type):
    inner = self._inner.create(value_type, weight_type)

    @tff.tensorflow.computation(value_type, weight_type)
    def row(value, weight):
      return collections.OrderedDict([(UPDATES, flat.flatten(value)), (WEIGHTS, tf.cast(weight, tf.float32))])

    collect = flat.build_collect(row.type_signature.result)

    @tff.federated_computation(inner.initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS),
                               tff.FederatedType(weight_type, tff.CLIENTS))
    def next_fn(state, value, weight):
      output = inner.next(state, value, weight)
      return tff.templates.MeasuredProcessOutput(output.state, output.result, collect(
          tff.federated_map(row, (value, weight))))

    return tff.templates.AggregationProcess(inner.initialize, next_fn)
