"""Sums of ciphertexts in TFF: clients encrypt under a public key in the state, the server adds what it cannot read.

The key belongs to a key holder or, for one round, to all clients together; see `key_holder` and `joint_key`.
"""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.secure import fixed_point, hidden_sum, os_keys
from tff_vision.secure.encryption import bfv, ring
from tff_vision.secure.encryption.parameters import BfvParameters

_MAX_MESSAGE_BYTES = 2 * 10**9  # gRPC's limit for one message.
# TFF keeps the ciphertexts of a call, about two and a half times, until all of them are added up.
_CALL_BYTES = 100 * 10**6
# A handful of large ciphertexts goes in one call all the same: sums of several calls travel back and forth to be added,
# which takes longer than encrypting and as much memory.
_FEW_CLIENTS = 4


class EncryptedSumFactory(tff.aggregators.UnweightedAggregationFactory):
  """Encrypts float32 vectors and adds the ciphertexts up; see `hidden_sum`. The state is `key_state`."""

  def __init__(self, params: BfvParameters, encoding: fixed_point.Encoding, *, fewest: int = 2):
    """Args: `fewest`: a sum over fewer clients fails."""
    self._fewest = fewest
    self._params = params
    self._encoding = encoding

  def create(self, value_type):
    params, length = self._params, hidden_sum.vector_length(value_type)
    check_message_size(params, length)

    @tff.tensorflow.computation
    def no_key():
      return key_state(tf.zeros([2, len(params.primes), params.degree], tf.int32))

    state_type = no_key.type_signature.result

    @tff.tensorflow.computation(value_type, state_type)
    def encrypt(values, state):
      return encrypt_values(params, self._encoding, values, state['public_key'])

    @tff.federated_computation
    def initialize():
      return tff.federated_eval(no_key, tff.SERVER)

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      ciphertexts = tff.federated_map(encrypt, (value, tff.federated_broadcast(state)))
      return hidden_sum.hidden_output(state, _modular_sum(ciphertexts, params), clients_max=params.clients_max,
                                      length=length, fewest=self._fewest)

    return tff.templates.AggregationProcess(initialize, next_fn)


def key_state(public_key: np.ndarray | tf.Tensor) -> collections.OrderedDict:
  """Returns the state of an encrypted sum under a key, [2, primes, degree] int32, (b, a)."""
  return collections.OrderedDict(public_key=public_key)


def encrypt_values(params: BfvParameters, encoding: fixed_point.Encoding, values: tf.Tensor, public_key: tf.Tensor
                   ) -> tf.Tensor:
  """Returns the ciphertexts, see `bfv.encrypt`, of [n] float32 values; client graph code.

  One kernel key serves both the dither and the encryption: the dither's words come from a nonce of their own.
  """
  key = os_keys.kernel_key()
  seed = fixed_point.dither_seed(key)
  return bfv.encrypt(params, encoding.prepared(values), public_key, key,
                     quantize=lambda index, part: encoding.integers(part, seed + tf.stack([0, index]),
                                                                    index * tf.size(part)))


def clients_per_call(params: BfvParameters, length: int) -> int:
  """Returns how many clients one call to a worker may encrypt for without filling its memory."""
  return max(_FEW_CLIENTS, _CALL_BYTES // params.ciphertext_bytes(length))


def check_message_size(params: BfvParameters, length: int) -> None:
  """Refuses models whose ciphertexts exceed one message.

  Raises:
    ValueError: With what to change.
  """
  size = params.ciphertext_bytes(length)
  if size > _MAX_MESSAGE_BYTES:
    raise ValueError(f'secure_bits={params.value_bits} with secure_clients_max={params.clients_max} makes ciphertexts '
                     f'of {size / 1e9:.1f} GB for {length} parameters, more than one message of 2 GB carries: lower '
                     'secure_bits or secure_clients_max so that more values share a coefficient, or take a smaller '
                     'model.')


def _modular_sum(value, params):
  """Returns the sum at the server of client-placed int32 residues [..., primes, degree], modulo each prime.

  Up to 16 clients' residues of 27 bits add up in an int32, and are reduced once; more are reduced at each step.
  """
  member = value.type_signature.member
  lazy = params.clients_max * max(params.primes) < 2**31

  @tff.tensorflow.computation
  def zero():
    return tf.zeros(member.shape, tf.int32)

  @tff.tensorflow.computation(member, member)
  def add(left, right):
    return left + right if lazy else ring.add(left, right, params.primes)

  @tff.tensorflow.computation(member)
  def reduced(total):
    return ring.fold(total, params.clients_max, params.primes) if lazy else tf.identity(total)

  return tff.federated_aggregate(value, zero(), add, add, reduced)
