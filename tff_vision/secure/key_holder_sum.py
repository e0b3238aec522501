"""The client's and the server's side of sums under a key holder's key: the server only ever sees ciphertexts."""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.secure import bfv, fixed_point, threshold_sum, two_phase
from tff_vision.secure.parameters import BfvParameters


class EncryptedUploadFactory(tff.aggregators.UnweightedAggregationFactory):
  """Encrypts float32 vectors under a given public key and adds the ciphertexts up; see `two_phase`."""

  def __init__(self, params: BfvParameters, encoding: fixed_point.Encoding, public_key: np.ndarray):
    """Args: `public_key` is [2, primes, degree] int32, (b, a)."""
    self._params = params
    self._encoding = encoding
    self._public_key = public_key

  def create(self, value_type):
    params, length = self._params, threshold_sum.vector_length(value_type)
    threshold_sum.check_message_size(params, length)

    @tff.tensorflow.computation(value_type)
    def encrypt(values):
      return threshold_sum.encrypt_values(params, self._encoding, values, tf.constant(self._public_key))

    @tff.tensorflow.computation(tff.TensorType(np.int32, bfv.ciphertext_shape(params, length)), np.int32)
    def check_cohort(total, clients):
      with tf.control_dependencies([threshold_sum.cohort_assertion(clients, params.clients_max)]):
        return tf.identity(total)

    @tff.federated_computation
    def initialize():
      return tff.federated_eval(two_phase.nothing_opened, tff.SERVER)

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      clients = tff.federated_sum(tff.federated_value(np.int32(1), tff.CLIENTS))
      total = threshold_sum.modular_sum(tff.federated_map(encrypt, value), params)
      return two_phase.hidden_output(state, tff.federated_map(check_cohort, (total, clients)), clients, length)

    return tff.templates.AggregationProcess(initialize, next_fn)
