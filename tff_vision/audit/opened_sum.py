"""The sum that a secure sum opens, computed without encryption: for attacks on a mechanism.

Masks and ciphertexts cancel exactly, so a reader of the secure sum sees only this. It is for attacks on a mechanism
and never for a run, where it would reveal single updates.
"""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.privacy.noise import noise_shares


class OpenedSumFactory(tff.aggregators.UnweightedAggregationFactory):
  """Sums of encoded vectors, decoded."""

  def __init__(self, encoding: noise_shares.NoiseShareEncoding):
    self._encoding = encoding

  def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
    """Args: `value_type` is the type of one float32 vector."""
    encoding = self._encoding

    @tff.tensorflow.computation(value_type)
    def encode(vector):
      # The seed is for a rounding that noise shares do not use.
      return tf.cast(encoding.encode(vector, tf.zeros([2], tf.int32)), tf.int64)

    @tff.tensorflow.computation(encode.type_signature.result, np.int64)
    def decode(total, clients):
      return encoding.decode(total, clients)

    @tff.federated_computation
    def initialize():
      return tff.federated_value((), tff.SERVER)

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, vectors):
      total = tff.federated_sum(tff.federated_map(encode, vectors))
      clients = tff.federated_sum(tff.federated_value(np.int64(1), tff.CLIENTS))
      return tff.templates.MeasuredProcessOutput(state, tff.federated_map(decode, (total, clients)),
                                                 tff.federated_value((), tff.SERVER))

    return tff.templates.AggregationProcess(initialize, next_fn)
