"""Updates and noise shares as integers for a secure sum; the graph code of `integer_shares`.

On the client: clip, scale to the grid, round at random until the norm is within its bound, add a share of integer
noise from the operating system kernel's randomness. After the clip all numbers are integers, so no floating-point
error leaves the client.
"""

import dataclasses

import tensorflow as tf

from tff_vision.privacy.noise import integer_gaussian, integer_shares
from tff_vision.secure import chacha20, os_keys

_ATTEMPTS = 30  # Attempts of conditional rounding; each succeeds with probability 0.39 or more.
_ROUNDING = 1  # Second word of the nonce for rounding.


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseShareEncoding:
  """Replaces `secure.fixed_point.Encoding`: encodes to client integers in [0, 2 * offset], and decodes their sum.

  Attributes:
    value_bits: Bits of one integer.
    clip_norm: L2 bound on an update.
    shares: The grid and the noise, with `kind` `gaussian` or `skellam`.
  """
  value_bits: int
  clip_norm: float
  shares: integer_shares.Shares

  @property
  def offset(self) -> int:
    """The number that is added to a client's integer to make it non-negative."""
    return 2**(self.value_bits - 1) - 1

  @property
  def step(self) -> float:
    """The value of one integer step, in units of the update."""
    return self.clip_norm / self.shares.clip_steps

  @property
  def value_range(self) -> float:
    """The largest magnitude of a value, noise included."""
    return self.step * self.offset

  @property
  def norm_bound(self) -> float:
    """The largest L2 norm of a rounded update, before noise."""
    return self.step * self.shares.sensitivity

  def encode(self, values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the noised integers plus `offset`, [n] float64; runs on the client.

    An update with a non-finite value counts as zero, and its noise is still added.

    Args:
      values: [n] float32.
      seed: Not used: rounding and noise have their own key of 256 bits.
    """
    return self.integers(self.prepared(values), seed)

  def prepared(self, values: tf.Tensor) -> tf.Tensor:
    """Does all of `encode`, because rounding bounds the norm of the whole update, not of its parts."""
    key = os_keys.kernel_key()
    integers = self._rounded(self._clipped(values), key)
    if self.shares.stddev:
      integers += tf.cast(self._share(key, tuple(values.shape)), tf.float64)
    return integers + float(self.offset)

  def integers(self, values: tf.Tensor, seed: tf.Tensor, first: tf.Tensor | int = 0) -> tf.Tensor:
    """Returns the result of `prepared`, or a part of it, unchanged."""
    del seed, first
    return values

  def decode(self, total: tf.Tensor, clients: tf.Tensor) -> tf.Tensor:
    """Returns the noised sum, [n] float32, from the sum of `clients` integers, [n] int64."""
    centred = tf.cast(total - tf.cast(clients, tf.int64) * self.offset, tf.float64)
    return tf.cast(centred * self.step, tf.float32)

  def _clipped(self, values):
    """Returns the update in grid steps, float64, of norm at most clip_steps."""
    scaled = tf.cast(values, tf.float64) / self.step
    norm = tf.norm(scaled)
    factor = tf.minimum(tf.constant(1.0, tf.float64), self.shares.clip_steps / norm)
    return tf.where(tf.math.is_finite(norm), tf.math.multiply_no_nan(scaled, factor), tf.zeros_like(scaled))

  def _rounded(self, scaled, key):
    """Rounds up or down at random, without bias, until the norm is within its bound (arXiv:2102.06387, algorithm 1)."""
    # Rounding towards zero never increases the norm; it is used if every attempt fails.
    downwards = tf.sign(scaled) * tf.floor(tf.abs(scaled))

    def attempt(number, _):
      words = chacha20.key_stream(key, tf.stack([tf.cast(number, tf.uint32), tf.constant(_ROUNDING, tf.uint32),
                                                 tf.constant(0, tf.uint32)]), scaled.shape[0])
      return number + 1, tf.floor(scaled + tf.cast(words, tf.float64) * 2.0**-32)

    def too_long(rounded):
      return tf.norm(rounded) > self.shares.sensitivity

    tries, rounded = tf.while_loop(lambda number, rounded: tf.logical_and(number < _ATTEMPTS, too_long(rounded)),
                                   attempt, attempt(tf.constant(0), None), parallel_iterations=1)
    del tries
    return tf.where(too_long(rounded), downwards, rounded)

  def _share(self, key, shape):
    nonce = tf.constant([0, 0, 0], tf.uint32)
    if self.shares.kind == 'skellam':
      return integer_gaussian.skellam(key, nonce, shape, self.shares.stddev ** 2)
    return integer_gaussian.discrete_gaussian(key, nonce, shape, self.shares.stddev)
