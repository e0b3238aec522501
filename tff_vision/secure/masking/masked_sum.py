"""Masked sums in TFF: clients add masks in the graph, the server adds what they send, modulo 2**32.

A client's mask seeds come from a key agreement outside of TFF. They reach its graph as a second sequence beside
its data set, pass the client work untouched beside the update's weight, and end here.
"""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import protocols
from tff_vision.secure import fixed_point, hidden_sum, os_keys
from tff_vision.secure.masking import mask_expansion, site_masks

ROWS_TYPE = tff.TensorType(np.uint32, [None, mask_expansion.ROW_WORDS])
ROWS_NAME = f'{protocols.MADE_AT_SITE}{site_masks.PROTOCOL}'
_MODULUS_BITS = 32


class MaskedUploadFactory(tff.aggregators.WeightedAggregationFactory):
  """Masks and sums float32 vectors; the "weight" is the client's mask seeds, `ROWS_TYPE`. See `hidden_sum`."""

  def __init__(self, encoding: fixed_point.Encoding, *, clients_max: int, fewest: int = 2):
    """Initializes the factory.

    Args:
      fewest: A sum over fewer clients fails.

    Raises:
      ValueError: The sum of so many values does not fit.
    """
    if clients_max * 2 * encoding.offset >= 2**_MODULUS_BITS:
      raise ValueError(f'secure_bits={encoding.value_bits} with secure_clients_max={clients_max}: the sum does not fit '
                       f'into {_MODULUS_BITS} bits; lower one of them.')
    self._encoding = encoding
    self._clients_max = clients_max
    self._fewest = fewest

  def create(self, value_type, weight_type):
    length = hidden_sum.vector_length(value_type)

    @tff.tensorflow.computation(value_type, weight_type)
    def mask(values, rows):
      integers = self._encoding.encode(values, fixed_point.dither_seed(os_keys.kernel_key()))
      return mask_expansion.add_masks(tf.cast(integers, tf.int32), rows)

    @tff.federated_computation
    def initialize():
      return tff.federated_eval(hidden_sum.nothing_opened, tff.SERVER)

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS),
                               tff.FederatedType(weight_type, tff.CLIENTS))
    def next_fn(state, value, weight):
      total = tff.federated_sum(tff.federated_map(mask, (value, weight)))
      return hidden_sum.hidden_output(state, total, clients_max=self._clients_max, length=length,
                                      fewest=self._fewest)

    return tff.templates.AggregationProcess(initialize, next_fn)


def data_with_rows(data_type: tff.Type) -> tff.StructType:
  """Returns the type of a client's data and its mask seeds, whose name says that its site may put them in."""
  return tff.types.to_type(collections.OrderedDict([
      ('data', data_type),
      (ROWS_NAME, tff.SequenceType(tff.TensorType(np.uint32, [mask_expansion.ROW_WORDS])))]))


def with_mask_rows(client_work: tff.learning.templates.ClientWorkProcess) -> tff.learning.templates.ClientWorkProcess:
  """Returns the same client work on pairs (data, mask seeds); the seeds end up in the update's weight."""
  state_type, weights_type, data_type = client_work.next.type_signature.parameter
  pair_type = tff.FederatedType(data_with_rows(data_type.member), tff.CLIENTS)

  @tff.tensorflow.computation(pair_type.member[1])
  def collect(rows):
    return tf.data.Dataset.get_single_element(rows.batch(np.iinfo(np.int32).max))

  @tff.federated_computation(state_type, weights_type, pair_type)
  def next_fn(state, weights, pairs):
    output = client_work.next(state, weights, pairs[0])
    weight = tff.federated_zip(collections.OrderedDict(
        told=output.result.update_weight, mask_rows=tff.federated_map(collect, pairs[1])))
    result = tff.federated_zip(tff.learning.templates.ClientResult(output.result.update, weight))
    return tff.templates.MeasuredProcessOutput(output.state, result, output.measurements)

  return tff.learning.templates.ClientWorkProcess(
      client_work.initialize, next_fn, get_hparams_fn=client_work.get_hparams,
      set_hparams_fn=client_work.set_hparams)
