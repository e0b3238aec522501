"""Updates and noise shares as integers for a secure sum; the graph code of `integer_shares`.

On the client: clip, scale to the grid, round at random until the norm keeps its bound, add a share of integer
noise from the kernel's randomness. Integers from the clip on, so nothing of floating point leaves with them.
"""

import dataclasses

import tensorflow as tf

from tff_vision.privacy.noise import integer_gaussian, integer_shares
from tff_vision.secure import chacha20, os_keys

_ATTEMPTS = 30  # Of conditional rounding; each succeeds with probability 0.39 or more.
_ROUNDING = 1  # Second word of a nonce: which numbers it names.


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseShareEncoding:
  """Stands where `secure.fixed_point.Encoding` does: integers of a client in [0, 2 * offset], and a sum's values.

  Attributes:
    value_bits: Bits of one integer.
    clip_norm: L2 bound on an update.
    shares: The grid and the noise; of `kind` `gaussian` or `skellam`.
  """
  value_bits: int
  clip_norm: float
  shares: integer_shares.Shares

  @property
  def offset(self) -> int:
    """Added to a client's integer to make it non-negative."""
    return 2**(self.value_bits - 1) - 1

  @property
  def step(self) -> float:
    """What one integer step is worth."""
    return self.clip_norm / self.shares.clip_steps

  @property
  def value_range(self) -> float:
    """The largest magnitude of a value, noise included."""
    return self.step * self.offset

  @property
  def norm_bound(self) -> float:
    """The L2 norm that no rounded update exceeds, before noise."""
    return self.step * self.shares.sensitivity

  def encode(self, values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the noised integers plus `offset`, [n] float64; runs on the client.

    An update with a non-finite value counts as zero, and still brings its noise.

    Args:
      values: [n] float32.
      seed: Not read: rounding and noise have a key of their own, of 256 bits.
    """
    return self.integers(self.prepared(values), seed)

  def prepared(self, values: tf.Tensor) -> tf.Tensor:
    """Does all of `encode`: rounding keeps the norm of the whole update, not of parts."""
    key = os_keys.kernel_key()
    integers = self._rounded(self._clipped(values), key)
    if self.shares.stddev:
      integers += tf.cast(self._share(key, tuple(values.shape)), tf.float64)
    return integers + float(self.offset)

  def integers(self, values: tf.Tensor, seed: tf.Tensor, first: tf.Tensor | int = 0) -> tf.Tensor:
    """Returns what `prepared` returned, or a part of it, as it is."""
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
    """Rounds up or down at random, without bias, until the norm keeps its bound (arXiv:2102.06387, algorithm 1)."""
    # Towards zero no norm grows: what is left if every attempt fails.
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
