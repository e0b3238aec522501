"""Sums of whole numbers over clients, hidden in the way in which a run hides its updates.

The numbers are counts, so nothing is rounded: every sum is exact. Each number is split into pieces of `secure_bits` - 1
bits, for which a secure sum of updates has room. The sum is opened by those who open the sums of updates: the clients
together, a key holder, or unmasking; encryption to all clients has a new key for each sum.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, protocols
from tff_vision.secure import hidden_sum, refusal
from tff_vision.secure.encryption import encrypted_sum, held_key, joint_key, key_holder, parameters
from tff_vision.secure.masking import mask_expansion, mask_round, masked_sum, site_round

# Takes (model weights, the requests of the cohort's clients); returns the sums, int64.
Totals = Callable[[Any, Sequence[Any]], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pieces:
  """The layout of a client's whole numbers in the vector that it hides.

  Attributes:
    groups: (how many numbers, the largest one of a client), in order.
    value_bits: Bits of one element of the hidden vector.
  """
  groups: tuple[tuple[int, int], ...]
  value_bits: int

  @property
  def length(self) -> int:
    """The length of the hidden vector."""
    return sum(number * self._pieces(largest) for number, largest in self.groups)

  def encode(self, numbers: tf.Tensor) -> tf.Tensor:
    """Returns the pieces, [length] float32, of a client's numbers, int64; client graph code.

    The computation fails where a number is out of range; the message contains no value.
    """
    found = []
    for values, largest in zip(tf.split(numbers, [number for number, _ in self.groups]),
                               [largest for _, largest in self.groups], strict=True):
      legal = tf.debugging.Assert(tf.reduce_all((values >= 0) & (values <= largest)), [
          f'secure sum: a client counts more than {largest}, for which no room was made; nothing was hidden.'])
      with tf.control_dependencies([legal]):
        values = tf.identity(values)
      for piece in range(self._pieces(largest)):
        shifted = tf.bitwise.right_shift(values, tf.constant(piece * self._bits, tf.int64))
        found.append(tf.bitwise.bitwise_and(shifted, tf.constant(2**self._bits - 1, tf.int64)))
    return tf.cast(tf.concat(found, axis=0), tf.float32)

  def decode(self, total: np.ndarray) -> np.ndarray:
    """Returns the sums of the numbers, int64, from the sum of the pieces, whole numbers."""
    left, found = np.rint(np.asarray(total)).astype(np.int64), []
    for number, largest in self.groups:
      value = np.zeros([number], np.int64)
      for piece in range(self._pieces(largest)):
        value += left[:number] << (piece * self._bits)
        left = left[number:]
      found.append(value)
    return np.concatenate(found)

  @property
  def _bits(self):
    return self.value_bits - 1

  def _pieces(self, largest):
    return -(-largest.bit_length() // self._bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WholeEncoding:
  """Has the methods of `fixed_point.Encoding`, for whole numbers of `value_bits` - 1 bits that stay as they are."""
  value_bits: int

  @property
  def offset(self) -> int:
    """Half of the room of one element."""
    return 2**(self.value_bits - 1) - 1

  def encode(self, values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    del seed
    return self.prepared(values)

  def prepared(self, values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float64)

  def integers(self, values: tf.Tensor, seed: tf.Tensor, first: tf.Tensor | int = 0) -> tf.Tensor:
    del seed, first
    return tf.cast(values, tf.float64)

  def decode(self, total: tf.Tensor, clients: tf.Tensor) -> tf.Tensor:
    del clients
    return tf.cast(total, tf.float64)


def in_the_clear(counting: tff.Computation) -> Totals:
  """Returns sums that whoever adds up can read; `counting` takes (model weights, request) on each client."""
  weights_type, request_type = counting.type_signature.parameter

  @tff.federated_computation(tff.FederatedType(weights_type, tff.SERVER), tff.FederatedType(request_type, tff.CLIENTS))
  def total(weights, requests):
    return tff.federated_sum(tff.federated_map(counting, (tff.federated_broadcast(weights), requests)))

  return lambda weights, requests: np.asarray(total(weights, list(requests)))


def hidden(counting: tff.Computation, groups: tuple[tuple[int, int], ...], config: configs.SecureConfig, *,
           place: protocols.Place, sums: int) -> Totals:
  """Returns sums that are hidden as `config` says.

  Args:
    groups: As in `Pieces`.
    place: The open runtime.
    sums: The number of sums that the run may open; encryption to all clients has parameters for so many.

  Raises:
    ValueError: The parameters leave no room.
  """
  if config.secure_sum == 'none':
    return in_the_clear(counting)
  pieces = Pieces(groups=groups, value_bits=config.secure_bits)
  made = _KINDS[config.secure_sum](counting, pieces, config, sums, place)

  def total(weights, requests):

    def run(parties):
      refusal.check_clients(len(parties), 2)
      return made(weights, [requests[party.position] for party in parties], parties)

    try:
      return pieces.decode(place.with_parties(len(requests), run))
    except mask_round.LostClientsError as error:
      raise place.WorkerLost(str(error)) from error

  return total


def _round(counting, pieces, aggregator, *, masks):
  """Returns the computation (weights, state of the hiding sum, what clients get) -> `hidden_sum.HiddenSum`."""
  weights_type, request_type = counting.type_signature.parameter
  vector_type = tff.TensorType(np.float32, [pieces.length])
  process = aggregator.create(vector_type, masked_sum.ROWS_TYPE) if masks else aggregator.create(vector_type)
  state_type = process.initialize.type_signature.result
  rows_type = tff.SequenceType(tff.TensorType(np.uint32, [mask_expansion.ROW_WORDS]))
  data_type = masked_sum.data_with_rows(request_type) if masks else request_type

  @tff.tensorflow.computation(weights_type, request_type)
  def vector(weights, request):
    return pieces.encode(counting(weights, request))

  @tff.tensorflow.computation(rows_type)
  def collect(rows):
    return tf.data.Dataset.get_single_element(rows.batch(np.iinfo(np.int32).max))

  @tff.federated_computation(tff.FederatedType(weights_type, tff.SERVER), state_type,
                             tff.FederatedType(data_type, tff.CLIENTS))
  def run(weights, state, data):
    requests = data[0] if masks else data
    vectors = tff.federated_map(vector, (tff.federated_broadcast(weights), requests))
    if masks:
      return process.next(state, vectors, tff.federated_map(collect, data[1])).measurements
    return process.next(state, vectors).measurements

  return run


def _masked(counting, pieces, config, sums, place):
  del sums, place
  encoding = WholeEncoding(value_bits=config.secure_bits)
  driver = site_round.MaskDriver(encoding)
  run = _round(counting, pieces, masked_sum.MaskedUploadFactory(encoding, clients_max=config.secure_clients_max),
               masks=True)

  def total(weights, requests, parties):
    driver.over(parties)
    found = run(weights, hidden_sum.opened_state(), driver.client_data(requests))
    return driver.open_sum(np.asarray(found.total), int(found.clients))

  return total


def _encrypted(counting, pieces, encoding, params):
  encrypted_sum.check_message_size(params, pieces.length)
  return _round(counting, pieces, encrypted_sum.EncryptedSumFactory(params, encoding), masks=False)


def _joint(counting, pieces, config, sums, place):
  del place
  encoding = WholeEncoding(value_bits=config.secure_bits)
  params = parameters.threshold_parameters(
      clients_max=config.secure_clients_max, value_bits=config.secure_bits, length=pieces.length, rounds=sums,
      statistical_bits=config.secure_statistical_bits)
  return _under(joint_key.JointKeys(params, encoding), _encrypted(counting, pieces, encoding, params), pieces)


def _to_holder(counting, pieces, config, sums, place):
  del sums
  encoding = WholeEncoding(value_bits=config.secure_bits)
  params = parameters.key_holder_parameters(clients_max=config.secure_clients_max, value_bits=config.secure_bits)
  run = _encrypted(counting, pieces, encoding, params)
  if config.key_holder is not None:
    return _under(held_key.HeldKeys(place.key_holder(config.key_holder), params, encoding), run, pieces)
  holder = key_holder.KeyHolder(config.key_holder_dir, params)

  def total(weights, requests, parties):
    del parties
    found = run(weights, encrypted_sum.key_state(holder.public_key), requests)
    return holder.open_sum(np.asarray(found.total), int(found.clients), length=pieces.length, encoding=encoding)

  return total


def _under(keys, run, pieces):
  """Returns the total of a round that has a key of `round_keys.RoundKeys`."""

  def total(weights, requests, parties):
    key = keys.make(parties)
    found = run(weights, encrypted_sum.key_state(key.public), requests)
    return key.open_sum(np.asarray(found.total), int(found.clients), pieces.length)

  return total


_KINDS = {'masks': _masked, 'he': _joint, 'he_keyholder': _to_holder}
