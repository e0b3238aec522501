"""Integer Gaussian noise from a cryptographic generator, in TensorFlow ops.

By default, TensorFlow's own random ops have a 32-bit seed, so all their noise can be enumerated. Here every number
comes from the ChaCha20 key stream under a key drawn from the operating system's kernel; (key, nonce) identifies it.

Noise that is added to integers is generated as integers here, without a coarse floating-point number in between. If
noise could not take some values, an output would rule out some totals with certainty (Mironov, CCS 2012).
"""

import decimal
import functools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tff_vision.secure import chacha20

_TABLE_BITS = 63
_TABLE_DIGITS = 60
_MAX_TABLE = 2 ** 20
_TAIL_NONCE = np.array([0, 0, 2**31], np.uint32)  # Added to a nonce for draws in the tails.
_TAIL = decimal.Decimal(2) ** -55  # Probability of a distribution's tails, which are drawn from a separate table.
_COARSE_BITS = 14  # The floating-point part of an integer Gaussian has a deviation of 2^14 or more.
_SPARE_BITS = 5  # The words of that part leave twice as many bits unused.
_HALF_WORD = 16


def gaussian(key: tf.Tensor, nonce: tf.Tensor, shape: tuple[int, ...], sigma: float) -> tf.Tensor:
  """Returns int64 Gaussian noise of standard deviation `sigma`; every integer of the bulk has its proper probability.

  The noise is c K + U - V. K is a rounded Gaussian of deviation sigma / c, by Box & Muller 1958, where c is a power of
  two such that this deviation is 2^14 to 2^18. U and V are uniform on 0..c-1, from separate bits. So the low digits
  are exact random bits for any sigma, and the high digits need no more than 21 of a float64's 53 bits.

  An integer within 6 deviations has the probability of a Gaussian of variance sigma^2 + c^2 / 4, up to a factor of
  1 +- 2^-25 (2^-29 in the mean square). The error comes from the interpolation by U - V (c^2 |z^2 - 1| / (8 sigma^2) at
  most), and from K's float64 logarithm, root and cosine (2^-49 of the Box-Muller radius, in deviations) and 53-bit
  angle. docs/explanation/privacy.md says what this adds to epsilon. The noise ends at 8.57 deviations (probability
  1e-17 per number). With 32-bit uniforms it would end at 6.7, which a large model crosses too often to be negligible
  compared with delta.

  Args:
    key: [8] uint32, secret.
    nonce: [3] uint32, never used twice with one key for different purposes.
    shape: Static shape.
    sigma: Standard deviation; 0 gives zeros.

  Raises:
    ValueError: sigma is 2^47 or more, so integers would overflow.
  """
  if not sigma:
    return tf.zeros(shape, tf.int64)
  size = math.prod(shape)
  words = chacha20.key_stream(key, nonce, words_of(size, sigma))
  return tf.reshape(gaussian_of(words, size, sigma), shape)


def words_of(size: int, sigma: float) -> int:
  """Returns the number of random words that `gaussian_of` needs."""
  return 4 * ((size + 1) // 2) + size * _low_words(_low_bits(sigma))


def gaussian_of(words: tf.Tensor, size: int, sigma: float) -> tf.Tensor:
  """Returns the `size` integers of `gaussian` from `words_of` random words: first the words of K, then of U and V."""
  bits, pairs = _low_bits(sigma), 4 * ((size + 1) // 2)
  coarse = tf.cast(tf.round(_box_muller(words[:pairs])[:size] * (sigma * 2.0 ** -bits)), tf.int64)
  if not bits:
    return coarse
  low = words[pairs:]
  if bits <= _SPARE_BITS:
    # `_uniform` does not use the last 11 bits of each low word.
    fields = tf.reshape(tf.reshape(words, [4, -1])[1::2], [-1])[:size]
    up, down = fields, tf.bitwise.right_shift(fields, tf.constant(_SPARE_BITS, tf.uint32))
  elif bits <= _HALF_WORD:
    up, down = low, tf.bitwise.right_shift(low, tf.constant(_HALF_WORD, tf.uint32))
  else:
    up, down = low[:size], low[size:]
  mask = tf.constant(2 ** bits - 1, tf.uint32)
  up, down = (tf.cast(tf.bitwise.bitwise_and(field, mask), tf.int64) for field in (up, down))
  return coarse * 2 ** bits + up - down


def discrete_gaussian(key: tf.Tensor, nonce: tf.Tensor, shape: tuple[int, ...], sigma: float) -> tf.Tensor:
  """Returns int64 numbers k with probability proportional to exp(-k^2 / (2 sigma^2)), |k| <= 12 sigma.

  Canonne, Kamath & Steinke 2020, arXiv:2004.00010. Draws by inversion of a table of 63-bit thresholds. After the table
  is built, no floating-point number is involved. Each draw takes the same time, except for one in 2^55 that is drawn
  again from the table of the tails.
  """
  return _invert(key, nonce, shape, discrete_gaussian_table(sigma))


def skellam(key: tf.Tensor, nonce: tf.Tensor, shape: tuple[int, ...], variance: float) -> tf.Tensor:
  """Returns int64 differences of two Poisson numbers of mean variance / 2 each; arXiv:2110.04995."""
  return _invert(key, nonce, shape, skellam_table(variance))


class Table(NamedTuple):
  """Inversion thresholds of a symmetric distribution on -m..m.

  Attributes:
    body: [2 b + 2] int64, floor(2^63 P(X <= k)) for k = -b-1..b; the probability outside is about 2^-55.
    tail: [m - b - 1] int64, floor(2^63 P(|X| <= k given |X| > b)) for k = b+1..m-1.
  """
  body: np.ndarray
  tail: np.ndarray

  @property
  def body_reach(self) -> int:
    """b, the largest number in the body."""
    return len(self.body) // 2 - 1

  @property
  def reach(self) -> int:
    """m, the largest number that can be drawn."""
    return self.body_reach + 1 + len(self.tail)


@functools.lru_cache
def discrete_gaussian_table(sigma: float) -> Table:
  """Returns the thresholds of the inversion for the values -m..m; m = 12 sigma.

  Raises:
    ValueError: The table would need too much memory.
  """
  reach = _reach(12 * sigma, f'sigma={sigma:g}')
  with decimal.localcontext(prec=_TABLE_DIGITS):
    scale = -1 / (2 * decimal.Decimal(sigma) ** 2)
    masses = [(scale * k * k).exp() for k in range(reach + 1)]
    return _table(masses)


@functools.lru_cache
def skellam_table(variance: float) -> Table:
  """Returns the thresholds of the inversion, like `discrete_gaussian_table`.

  The masses are proportional to Bessel functions I_k(variance). They are computed by Miller's downward recurrence
  I_{k-1} = I_{k+1} + (2 k / variance) I_k, which starts far out in the tail.
  """
  reach = _reach(12 * math.sqrt(variance) + 40, f'variance={variance:g}')
  with decimal.localcontext(prec=_TABLE_DIGITS):
    above, here = decimal.Decimal(0), decimal.Decimal(1)
    masses = []
    for k in range(2 * reach, 0, -1):
      above, here = here, above + (2 * k / decimal.Decimal(variance)) * here
      if k <= reach + 1:
        masses.append(here)
    return _table(masses[::-1])


def _low_bits(sigma):
  """Returns log2 of c, see `gaussian`."""
  magnitude = math.frexp(sigma)[1] - 1
  if magnitude > 46:
    raise ValueError(f'noise of {sigma:.3g} grid steps has no room in integers: lower noise_multiplier.')
  if magnitude < _COARSE_BITS + 4 + _SPARE_BITS:
    return min(max(0, magnitude - _COARSE_BITS), _SPARE_BITS)
  return magnitude - _COARSE_BITS


def _low_words(bits):
  return 0 if bits <= _SPARE_BITS else 1 if bits <= _HALF_WORD else 2


def _box_muller(words):
  """Returns standard normal numbers, float64: one for every two words."""
  words = tf.reshape(words, [4, -1])
  radius = tf.sqrt(-2.0 * tf.math.log(_uniform(words[0], words[1])))
  angle = 2 * np.pi * _uniform(words[2], words[3])
  return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], 0)


def _uniform(high, low):
  """Returns float64 in (0, 1] with 53 random bits."""
  bits = tf.bitwise.bitwise_or(tf.bitwise.left_shift(tf.cast(high, tf.int64), tf.constant(21, tf.int64)),
                               tf.bitwise.right_shift(tf.cast(low, tf.int64), tf.constant(11, tf.int64)))
  return (tf.cast(bits, tf.float64) + 1.0) * 2.0 ** -53


def _invert(key, nonce, shape, table):
  size = math.prod(shape)
  value = _below(key, nonce, size, table.body) - 1 - table.body_reach
  outside = tf.abs(value) > table.body_reach

  def with_tails():
    again = _below(key, tf.bitwise.bitwise_xor(nonce, _TAIL_NONCE), size, table.tail)
    return tf.where(outside, tf.sign(value) * (table.body_reach + 1 + again), value)

  # Almost never computed. The longer time reveals only that some number lies beyond 8 deviations.
  return tf.reshape(tf.cond(tf.reduce_any(outside), with_tails, lambda: value), shape)


def _below(key, nonce, size, thresholds):
  """Returns, for each of `size` draws of 63 random bits, the number of thresholds that it reaches, int64."""
  words = tf.reshape(chacha20.key_stream(key, nonce, 2 * size), [2, size])
  high = tf.cast(tf.bitwise.bitwise_and(words[0], tf.constant(2 ** 31 - 1, tf.uint32)), tf.int64)
  uniform = tf.bitwise.bitwise_or(tf.bitwise.left_shift(high, tf.constant(32, tf.int64)), tf.cast(words[1], tf.int64))
  return tf.searchsorted(tf.constant(thresholds), uniform, side='right', out_type=tf.int64)


def _reach(width, name):
  reach = math.ceil(width)
  if 2 * reach >= _MAX_TABLE:
    raise ValueError(f'{name} needs a table of {2 * reach} entries, more than {_MAX_TABLE}.')
  return reach


def _table(masses):
  """Returns the thresholds from the masses of 0, 1, 2, ... (up to a factor) of a symmetric distribution."""
  total, outside, body = 2 * sum(masses) - masses[0], decimal.Decimal(0), len(masses) - 1
  # The tails cannot be smaller: the body's resolution of 2^-63 is too coarse for that.
  while body and (outside < _TAIL * total / 32 or outside + 2 * masses[body] < _TAIL * total):
    outside += 2 * masses[body]
    body -= 1
  below = outside / 2
  thresholds = [_threshold(below / total)]
  for mass in [*masses[body:0:-1], *masses[:body + 1]]:
    below += mass
    thresholds.append(_threshold(below / total))
  inside, tail = decimal.Decimal(0), []
  # The last threshold would be 2^63, which no draw reaches.
  for mass in masses[body + 1:-1]:
    inside += 2 * mass
    tail.append(_threshold(inside / outside))
  return Table(np.array(thresholds, np.int64), np.array(tail, np.int64))


def _threshold(probability):
  # Capped, because 2^63 is not an int64.
  return min(int(probability * 2 ** _TABLE_BITS), 2 ** _TABLE_BITS - 1)
