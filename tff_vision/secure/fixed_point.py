"""Real numbers as small integers, and several small integers in one plaintext coefficient.

Sums of integers are exact, so the only error of an encrypted sum is the rounding here. For each client it is less than
one step, and it is zero on average, because rounding is stochastic. All functions are TensorFlow graph code; they run
on the client before encryption, and on the server after decryption.
"""

import dataclasses
import math

import tensorflow as tf

from tff_vision.configs import validate
from tff_vision.secure import chacha20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
  """Maps real values to integers in [0, 2 * offset], and a sum of integers back to real values.

  Attributes:
    value_bits: Bits of one integer.
    value_range: The largest magnitude of a value.
    norm_bound: For differential privacy: the L2 norm that no rounded vector exceeds, whichever way values are rounded.
  """
  value_bits: int
  value_range: float
  norm_bound: float | None = None

  def __post_init__(self):
    validate.positive(secure_range=self.value_range)

  @property
  def offset(self) -> int:
    """Added to a client's integer to make it non-negative; also the integer of `value_range`."""
    return 2**(self.value_bits - 1) - 1

  @property
  def step(self) -> float:
    """The size of one integer step: a rounded value differs by less than this."""
    return self.value_range / self.offset

  def clip_norm(self, length: int) -> float:
    """Returns the norm to which a vector is clipped so that its rounded form stays within `norm_bound`.

    Raises:
      ValueError: Rounding would take more than half of the bound.
    """
    left = self.norm_bound - self.step * math.sqrt(length)
    if left < self.norm_bound / 2:
      raise ValueError(f'secure_bits={self.value_bits} is too coarse for {length} parameters within clip_norm='
                       f'{self.norm_bound:g}: rounding alone may add {self.step * math.sqrt(length):.3g} to the norm; '
                       'raise secure_bits.')
    return left

  def encode(self, values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns integers with expectation offset * (1 + values / value_range), [n] float64; runs on the client.

    The computation fails where a value is not finite or out of range. The error message reaches the server; it contains
    no value.

    Args:
      values: [n] float32.
      seed: [2] int32 for the dither; it need not be secret, because rounding reveals nothing.
    """
    return self.integers(self.prepared(values), seed)

  def prepared(self, values: tf.Tensor) -> tf.Tensor:
    """Does the part of `encode` that needs the whole vector: checks, and clipping to the norm bound if there is one."""
    values = self._finite(values)
    if self.norm_bound is not None:
      # In float64, and slightly shorter than the bound, so that later rounding errors cannot exceed the bound at all.
      values, bound = tf.cast(values, tf.float64), self.clip_norm(values.shape[0]) * (1 - 1e-9)
      values *= bound / tf.maximum(tf.norm(values), bound)
    return self._in_range(values)

  def integers(self, values: tf.Tensor, seed: tf.Tensor, first: tf.Tensor | int = 0) -> tf.Tensor:
    """Returns the integers of prepared values, or of a part of them that begins at `first` and has its own seed."""
    del first
    scaled = tf.cast(values, tf.float64) / self.step
    dither = tf.cast(tf.random.stateless_uniform(tf.shape(values), seed, dtype=tf.float32), tf.float64)
    offset = float(self.offset)
    return tf.clip_by_value(tf.floor(scaled + dither), -offset, offset) + offset

  def decode(self, total: tf.Tensor, clients: tf.Tensor) -> tf.Tensor:
    """Returns the sum of real values, [n] float32, from the sum of the integers of `clients` clients, [n] int64."""
    centred = tf.cast(total - tf.cast(clients, tf.int64) * self.offset, tf.float64)
    return tf.cast(centred * self.step, tf.float32)

  def _finite(self, values):
    finite = tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(values)), [
        'secure sum: an update of a client holds NaN or infinity, so nothing was encrypted and the round fails; '
        'lower client_learning_rate or clip updates.'])
    with tf.control_dependencies([finite]):
      return tf.identity(values)

  def _in_range(self, values):
    inside = tf.debugging.Assert(tf.reduce_all(tf.abs(values) <= self.value_range), [
        f'secure sum: an update of a client has an element beyond {self.value_range:g}, so nothing was encrypted '
        'and the round fails; raise secure_range or clip updates.'])
    with tf.control_dependencies([inside]):
      return tf.identity(values)


def dither_seed(key: tf.Tensor) -> tf.Tensor:
  """Returns a seed for `Encoding.encode`, [2] int32, from the key of a stream whose nonces start with small numbers."""
  return tf.bitcast(chacha20.key_stream(key, tf.constant([0, 0, 1], tf.uint32), 2), tf.int32)


def to_fields(values: tf.Tensor, values_per_coefficient: int, polynomials: int, degree: int) -> tf.Tensor:
  """Returns [polynomials, values_per_coefficient, degree]: `values`, [n], padded with zeros."""
  capacity = polynomials * values_per_coefficient * degree
  padded = tf.pad(values, [[0, capacity - values.shape[0]]])
  return tf.reshape(padded, [polynomials, values_per_coefficient, degree])


def from_coefficients(coefficients: tf.Tensor, field_bits: int, values_per_coefficient: int, length: int):
  """Returns the first `length` fields, [length] int64, of [polynomials, degree] int64 coefficients."""
  mask = tf.constant((1 << field_bits) - 1, tf.int64)
  fields = [tf.bitwise.bitwise_and(tf.bitwise.right_shift(coefficients, tf.constant(field_bits * k, tf.int64)), mask)
            for k in range(values_per_coefficient)]
  return tf.reshape(tf.stack(fields, axis=1), [-1])[:length]
