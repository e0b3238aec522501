"""A sum that no single party can decrypt: threshold BFV inside one TFF aggregation.

In each round the clients make an ephemeral joint key, encrypt, and decrypt the sum together; each secret share
stays a client-placed value of that one computation and is gone afterwards. The server adds ciphertexts and
learns the sum. All shares are needed (n of n): a client that is lost in mid-round fails the round, which may be
run again with fresh keys.
"""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.secure import bfv, entropy, fixed_point, ring
from tff_vision.secure.parameters import DEGREE, BfvParameters

_MAX_MESSAGE_BYTES = 2 * 10**9  # gRPC's limit for one message.


class ThresholdSteps:
  """The protocol's steps as TensorFlow computations; `steps.encrypt` and so on carry their types.

  Attributes:
    reference: round number -> a. Public; runs anywhere.
    make_key: a -> (secret share, public share). Client.
    add_public_shares, add_ciphertexts, add_shares: Additions modulo each prime, pairwise. Server.
    encrypt: (values, b, a) -> ciphertexts. Client.
    decryption_share: (c1, secret share) -> share. Client.
    combine: (c0, sum of shares, number of clients) -> sum of values. Whoever may learn the sum.
  """

  def __init__(self, params: BfvParameters, encoding: fixed_point.Encoding, *, length: int):
    check_message_size(params, length)
    self.params = params
    self.length = length
    self.encoding = encoding
    shape = bfv.ciphertext_shape(params, length)
    self.ciphertext_type = tff.TensorType(np.int32, shape)
    self.share_type = tff.TensorType(np.int32, shape[:1] + shape[2:])
    self.polynomial_type = tff.TensorType(np.int32, shape[2:])
    self.secret_type = tff.TensorType(np.int32, [DEGREE])
    self.value_type = tff.TensorType(np.float32, [length])
    self._build_client_steps()
    self._build_server_steps()

  def _build_client_steps(self):
    params, encoding = self.params, self.encoding

    @tff.tensorflow.computation(np.int64)
    def reference(round_num):
      return bfv.reference_polynomial(params, round_num)

    @tff.tensorflow.computation(self.polynomial_type)
    def make_key(a):
      return bfv.key_share(params, a, entropy.kernel_key())

    @tff.tensorflow.computation(self.value_type, self.polynomial_type, self.polynomial_type)
    def encrypt(values, b, a):
      return encrypt_values(params, encoding, values, tf.stack([b, a]))

    @tff.tensorflow.computation(self.share_type, self.secret_type)
    def decryption_share(c1, secret):
      return bfv.decryption_share(params, c1, secret, entropy.kernel_key())

    self.reference, self.make_key = reference, make_key
    self.encrypt, self.decryption_share = encrypt, decryption_share

  def _build_server_steps(self):
    params, length, encoding = self.params, self.length, self.encoding

    @tff.tensorflow.computation(self.polynomial_type, np.int32)
    def check_cohort(b, clients):
      with tf.control_dependencies([cohort_assertion(clients, params.clients_max)]):
        return tf.identity(b)

    @tff.tensorflow.computation(self.ciphertext_type)
    def halves(ciphertext):
      return ciphertext[:, 0], ciphertext[:, 1]

    @tff.tensorflow.computation(self.share_type, self.share_type, np.int32)
    def combine(c0, shares, clients):
      total = bfv.decrypt(params, c0, shares, length)
      return encoding.decode(total, clients)

    self.check_cohort, self.halves, self.combine = check_cohort, halves, combine


class ThresholdSumFactory(tff.aggregators.UnweightedAggregationFactory):
  """Sums float32 vectors under an ephemeral key that all clients of the round hold together.

  Use `tff.aggregators.concat_factory` around it for structures. The state is the number of the round.
  """

  def __init__(self, params: BfvParameters, encoding: fixed_point.Encoding):
    self._params = params
    self._encoding = encoding

  def create(self, value_type):
    steps = ThresholdSteps(self._params, self._encoding, length=vector_length(value_type))

    @tff.federated_computation
    def initialize():
      return tff.federated_value(np.int64(0), tff.SERVER)

    @tff.tensorflow.computation(np.int64)
    def next_round(round_num):
      return round_num + 1

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      clients = tff.federated_sum(tff.federated_value(np.int32(1), tff.CLIENTS))
      a = tff.federated_broadcast(tff.federated_map(steps.reference, state))
      keys = tff.federated_map(steps.make_key, a)
      b = modular_sum(keys[1], self._params)
      b = tff.federated_broadcast(tff.federated_map(steps.check_cohort, (b, clients)))
      total = modular_sum(tff.federated_map(steps.encrypt, (value, b, a)), self._params)
      c0, c1 = tff.federated_map(steps.halves, total)
      shares = tff.federated_map(steps.decryption_share, (tff.federated_broadcast(c1), keys[0]))
      result = tff.federated_map(steps.combine, (c0, modular_sum(shares, self._params), clients))
      return tff.templates.MeasuredProcessOutput(
          tff.federated_map(next_round, state), result, tff.federated_value((), tff.SERVER))

    return tff.templates.AggregationProcess(initialize, next_fn)


def encrypt_values(params: BfvParameters, encoding: fixed_point.Encoding, values: tf.Tensor, public_key: tf.Tensor
                   ) -> tf.Tensor:
  """Returns the ciphertexts, see `bfv.encrypt`, of [n] float32 values; client graph code.

  One kernel key serves both the dither and the encryption: the dither's words come from a nonce of their own.
  """
  key = entropy.kernel_key()
  return bfv.encrypt(params, encoding.encode(values, fixed_point.dither_seed(key)), public_key, key)


def cohort_assertion(clients: tf.Tensor, clients_max: int) -> tf.Operation:
  """Fails where the cohort is too large for the parameters, or is one client, whose sum is that client's update."""
  few = tf.debugging.Assert(tf.not_equal(clients, 1), [
      'secure sum: a cohort of one client; its sum would be that client\'s update.'])
  many = tf.debugging.Assert(clients <= clients_max, [
      f'secure sum: more than secure_clients_max={clients_max} clients; raise it, or sample smaller cohorts.'])
  return tf.group(few, many)


def modular_sum(value, params: BfvParameters):
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
    return tf.math.floormod(total, tf.constant(params.primes, tf.int32)[:, None]) if lazy else tf.identity(total)

  return tff.federated_aggregate(value, zero(), add, add, reduced)


def vector_length(value_type) -> int:
  """Returns the length of a float32 vector type.

  Raises:
    TypeError: It is another type.
  """
  if not isinstance(value_type, tff.TensorType) or len(value_type.shape) != 1 or value_type.dtype != np.float32:
    raise TypeError(f'secure sums take float32 vectors, found {value_type}; wrap the factory in '
                    'tff.aggregators.concat_factory for structures.')
  return value_type.shape[0]


def check_message_size(params: BfvParameters, length: int) -> None:
  """Refuses models whose ciphertexts exceed one message.

  Raises:
    ValueError: With what to change.
  """
  size = int(np.prod(bfv.ciphertext_shape(params, length), dtype=np.int64)) * 4
  if size > _MAX_MESSAGE_BYTES:
    raise ValueError(f'secure_bits={params.value_bits} with secure_clients_max={params.clients_max} makes ciphertexts '
                     f'of {size / 1e9:.1f} GB for {length} parameters, more than one message of 2 GB carries: lower '
                     'secure_bits or secure_clients_max so that more values share a coefficient, or take a smaller '
                     'model.')
