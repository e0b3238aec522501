"""Encodes and decodes compressed updates; the payload is what would cross the network.

A codec works on the whole update as one vector. Its payload has a fixed size, which is the total size of its tensors.
All randomness of a payload is derived from a hash of the update, so that a repeated round gives the same payload.

Quantisation within blocks, plain and after a random rotation: Suresh et al., "Distributed Mean Estimation with Limited
Communication", ICML 2017, sections 2.2 and 3; Alistarh et al., "QSGD", NIPS 2017, section 4 (blocks). Largest values
only (top-k): Aji and Heafield, EMNLP 2017; `error_feedback` handles the values that it leaves out.
"""

import abc
import collections
import dataclasses
import math
from collections.abc import Callable, Mapping

import tensorflow as tf

from tff_vision import catalogue
from tff_vision.aggregation import rotations
from tff_vision.configs import aggregation_config

_BLOCK = 1024
Payload = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codec(abc.ABC):
  """Encodes and decodes vectors of `length` float32."""
  length: int

  @abc.abstractmethod
  def encode(self, vector: tf.Tensor) -> Payload:
    """Returns tensors of fixed shapes; runs on the client."""

  @abc.abstractmethod
  def decode(self, payload: Payload) -> tf.Tensor:
    """Returns [length] float32; runs on the server."""

  def decode_rows(self, payloads: Payload) -> tf.Tensor:
    """Returns [n, length] float32 for the payloads of n clients, stacked; runs on the server."""
    return tf.map_fn(self.decode, payloads, fn_output_signature=tf.TensorSpec([self.length], tf.float32))

  def num_bytes(self) -> int:
    """Returns the size in bytes, the same for every payload."""
    written = tf.function(self.encode, autograph=False).get_concrete_function(tf.TensorSpec([self.length], tf.float32))
    return sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in written.structured_outputs.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain(Codec):
  """float32 values, unchanged."""

  def encode(self, vector):
    return collections.OrderedDict(values=vector)

  def decode(self, payload):
    return payload['values']

  def decode_rows(self, payloads):
    return payloads['values']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantised(Codec):
  """Rounds to the nearest, or to a random neighbour, of 2**bits evenly spaced values between a block's min and max.

  Attributes:
    bits: Bits of one value.
    stochastic: Whether a value is rounded up with the probability that makes the result unbiased.
    rotation: Applied to every block first, with a seed from the client; the server inverts it.
  """
  bits: int
  stochastic: bool
  rotation: rotations.Rotation = rotations.NOTHING

  def encode(self, vector):
    seed = _seed(vector)
    rows = tf.reshape(tf.pad(vector, [[0, self._rows * self._width - self.length]]), [self._rows, self._width])
    rows = self.rotation.turn(rows, seed)
    low, high = tf.reduce_min(rows, axis=1), tf.reduce_max(rows, axis=1)
    step = (high - low) / self._levels
    steps = tf.math.divide_no_nan(rows - low[:, None], step[:, None])
    above = tf.random.stateless_uniform(tf.shape(rows), seed + 1) if self.stochastic else tf.constant(0.5)
    numbers = tf.clip_by_value(tf.cast(tf.floor(steps + above), tf.int32), 0, self._levels)
    payload = collections.OrderedDict(
        numbers=pack(tf.reshape(numbers, [-1])[:self._kept], self.bits), low=low, step=step)
    return payload | ({'seed': seed} if self.rotation.seeded else {})

  def decode(self, payload):
    numbers = unpack(payload['numbers'], self._kept)
    numbers = tf.reshape(tf.pad(numbers, [[0, self._rows * self._width - self._kept]]), [self._rows, self._width])
    rows = payload['low'][:, None] + tf.cast(numbers, tf.float32) * payload['step'][:, None]
    if self.rotation.seeded:
      rows = self.rotation.turn_back(rows, payload['seed'])
    return tf.reshape(rows, [-1])[:self.length]

  @property
  def _levels(self):
    return 2**self.bits - 1

  @property
  def _width(self):
    """The width of a block: a power of two, for the rotations."""
    return min(_BLOCK, 2**math.ceil(math.log2(max(2, self.length))))

  @property
  def _rows(self):
    return -(-self.length // self._width)

  @property
  def _kept(self):
    """The count of numbers sent: a rotation fills the last block; without one, its padding is known and not sent."""
    return self._rows * self._width if self.rotation.seeded else self.length


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopK(Codec):
  """Sends the values of largest magnitude and their positions; all other values become zero.

  Positions are encoded in the smaller of two ways: one bit for each value of the vector, or a number per value sent.

  Attributes:
    fraction: The fraction of values that is sent; at least one value is sent.
  """
  fraction: float

  def encode(self, vector):
    if self._count == self.length:
      return collections.OrderedDict(values=vector)
    positions = tf.sort(tf.math.top_k(tf.abs(vector), self._count, sorted=False).indices)
    if self._as_bitmap:
      sent = tf.scatter_nd(positions[:, None], tf.ones([self._count], tf.int32), [self.length])
      where = pack(sent, 1)
    else:
      where = pack(positions, self._position_bits)
    return collections.OrderedDict(values=tf.gather(vector, positions), positions=where)

  def decode(self, payload):
    if self._count == self.length:
      return payload['values']
    if self._as_bitmap:
      positions = tf.cast(tf.where(unpack(payload['positions'], self.length) > 0)[:, 0], tf.int32)
    else:
      positions = unpack(payload['positions'], self._count)
    return tf.scatter_nd(positions[:, None], payload['values'], [self.length])

  @property
  def _count(self):
    return max(1, round(self.fraction * self.length))

  @property
  def _position_bits(self):
    return max(1, math.ceil(math.log2(self.length)))

  @property
  def _as_bitmap(self):
    return packed_length(self.length) <= self._position_bits * packed_length(self._count)


def build_codec(config: aggregation_config.AggregationConfig, length: int) -> Codec:
  """Returns the codec that `config.compression` names, for updates of `length` values."""
  return CODECS[config.compression](config, length)


def _seed(vector):
  """Returns [2] int32 that depends on every bit of the vector; integer sums, so the order of adding does not matter."""
  words = tf.cast(tf.bitcast(vector, tf.int32), tf.int64)
  places = tf.range(1, 2 * int(vector.shape[0]), 2, tf.int64)
  return tf.bitcast(tf.reduce_sum(words * places), tf.int32)


def plain(config: aggregation_config.AggregationConfig, length: int) -> Codec:
  """Returns the codec that sends float32 unchanged."""
  del config
  return Plain(length=length)


def uniform(config: aggregation_config.AggregationConfig, length: int) -> Codec:
  """Returns the codec that rounds to the nearest value."""
  return Quantised(length=length, bits=config.compression_bits, stochastic=False)


def stochastic(config: aggregation_config.AggregationConfig, length: int) -> Codec:
  """Returns the codec that rounds to a random neighbouring value."""
  return Quantised(length=length, bits=config.compression_bits, stochastic=True)


def hadamard(config: aggregation_config.AggregationConfig, length: int) -> Codec:
  """Returns the codec that rounds to a random neighbouring value after a Walsh-Hadamard transform."""
  return Quantised(length=length, bits=config.compression_bits, stochastic=True, rotation=rotations.HADAMARD)


def dft(config: aggregation_config.AggregationConfig, length: int) -> Codec:
  """Returns the codec that rounds to a random neighbouring value after a Fourier transform."""
  return Quantised(length=length, bits=config.compression_bits, stochastic=True, rotation=rotations.FOURIER)


def top_k(config: aggregation_config.AggregationConfig, length: int) -> Codec:
  """Returns the codec that sends the values of largest magnitude."""
  return TopK(length=length, fraction=config.top_k_fraction)


CODECS: Mapping[str, Callable[[aggregation_config.AggregationConfig, int], Codec]] = catalogue.Loaded('compression')


def packed_length(count: int) -> int:
  """Returns the bytes of one bit plane of `count` numbers."""
  return -(-count // 8)


def pack(numbers: tf.Tensor, bits: int) -> tf.Tensor:
  """Returns [bits, ceil(n / 8)] uint8 for [n] int32 in 0..2**bits - 1."""
  count = int(numbers.shape[0])
  eights = tf.reshape(tf.pad(numbers, [[0, 8 * packed_length(count) - count]]), [-1, 8])
  places = tf.constant([1 << i for i in range(8)], tf.int32)
  planes = (tf.bitwise.bitwise_and(tf.bitwise.right_shift(eights, plane), 1) for plane in range(bits))
  return tf.stack([tf.cast(tf.reduce_sum(ones * places, axis=1), tf.uint8) for ones in planes])


def unpack(packed: tf.Tensor, count: int) -> tf.Tensor:
  """Returns the [count] int32 that `pack` encoded."""
  total = tf.zeros([int(packed.shape[1]), 8], tf.int32)
  for plane in range(int(packed.shape[0])):
    eights = tf.bitwise.right_shift(tf.cast(packed[plane], tf.int32)[:, None], tf.range(8))
    total += tf.bitwise.left_shift(tf.bitwise.bitwise_and(eights, 1), plane)
  return tf.reshape(total, [-1])[:count]
