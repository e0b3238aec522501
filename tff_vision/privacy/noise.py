"""Noise from a cryptographic generator, in TensorFlow ops, wherever the graph runs.

TensorFlow's own random ops are seeded with 32 bits unless told otherwise: all their noise can be enumerated. Here
every number comes from the ChaCha20 key stream under a key drawn from the kernel; (key, nonce) names it, so a round
that is repeated after a crash repeats its noise and releases nothing new.
"""

import decimal
import functools
import math

import numpy as np
import tensorflow as tf

from tff_vision.secure import chacha20

_TABLE_BITS = 63
_TABLE_DIGITS = 50
_MAX_TABLE = 2 ** 20


def normal(key: tf.Tensor, nonce: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
  """Returns standard normal float64 numbers of `shape` by Box & Muller 1958 from 53-bit uniforms.

  With 32-bit uniforms the tail would end at 6.7 standard deviations, which a large model crosses too often to
  neglect beside delta; with 53 bits it ends at 8.57 (probability 1e-17 a number).

  Args:
    key: [8] uint32, secret.
    nonce: [3] uint32, never used twice with one key for different purposes.
    shape: Static.
  """
  size = math.prod(shape)
  half = (size + 1) // 2
  words = tf.reshape(chacha20.key_stream(key, nonce, 4 * half), [4, half])
  radius = tf.sqrt(-2.0 * tf.math.log(_uniform(words[0], words[1])))
  angle = 2 * np.pi * _uniform(words[2], words[3])
  return tf.reshape(tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], 0)[:size], shape)


def discrete_gaussian(key: tf.Tensor, nonce: tf.Tensor, shape: tuple[int, ...], sigma: float) -> tf.Tensor:
  """Returns int64 numbers k with probability proportional to exp(-k^2 / (2 sigma^2)).

  Canonne, Kamath & Steinke 2020, arXiv:2004.00010. Inversion of a table of 63-bit thresholds: no floating-point
  number is involved after the table, and each draw takes the same time.
  """
  return _invert(key, nonce, shape, discrete_gaussian_table(sigma))


def skellam(key: tf.Tensor, nonce: tf.Tensor, shape: tuple[int, ...], variance: float) -> tf.Tensor:
  """Returns int64 differences of two Poisson numbers of mean variance / 2 each; arXiv:2110.04995."""
  return _invert(key, nonce, shape, skellam_table(variance))


@functools.lru_cache
def discrete_gaussian_table(sigma: float) -> np.ndarray:
  """Returns the thresholds of the inversion, [2 m + 1] int64, for the values -m..m; m = 12 sigma.

  Raises:
    ValueError: The table would not fit into memory sensibly.
  """
  reach = _reach(12 * sigma, f'sigma={sigma:g}')
  with decimal.localcontext(prec=_TABLE_DIGITS):
    scale = -1 / (2 * decimal.Decimal(sigma) ** 2)
    masses = [(scale * k * k).exp() for k in range(reach + 1)]
    return _thresholds(masses)


@functools.lru_cache
def skellam_table(variance: float) -> np.ndarray:
  """Returns the thresholds of the inversion, as `discrete_gaussian_table`.

  The masses are proportional to Bessel functions I_k(variance), by Miller's downward recurrence
  I_{k-1} = I_{k+1} + (2 k / variance) I_k from far out in the tail.
  """
  reach = _reach(12 * math.sqrt(variance) + 40, f'variance={variance:g}')
  with decimal.localcontext(prec=_TABLE_DIGITS):
    above, here = decimal.Decimal(0), decimal.Decimal(1)
    masses = []
    for k in range(2 * reach, 0, -1):
      above, here = here, above + (2 * k / decimal.Decimal(variance)) * here
      if k <= reach + 1:
        masses.append(here)
    return _thresholds(masses[::-1])


def _uniform(high, low):
  """Returns float64 in (0, 1] with 53 random bits."""
  bits = tf.bitwise.bitwise_or(tf.bitwise.left_shift(tf.cast(high, tf.int64), tf.constant(21, tf.int64)),
                               tf.bitwise.right_shift(tf.cast(low, tf.int64), tf.constant(11, tf.int64)))
  return (tf.cast(bits, tf.float64) + 1.0) * 2.0 ** -53


def _invert(key, nonce, shape, table):
  size = math.prod(shape)
  words = tf.reshape(chacha20.key_stream(key, nonce, 2 * size), [2, size])
  high = tf.cast(tf.bitwise.bitwise_and(words[0], tf.constant(2 ** 31 - 1, tf.uint32)), tf.int64)
  uniform = tf.bitwise.bitwise_or(tf.bitwise.left_shift(high, tf.constant(32, tf.int64)), tf.cast(words[1], tf.int64))
  index = tf.searchsorted(tf.constant(table), uniform, side='right', out_type=tf.int64)
  return tf.reshape(index - (len(table) - 1) // 2, shape)


def _reach(width, name):
  reach = math.ceil(width)
  if 2 * reach >= _MAX_TABLE:
    raise ValueError(f'{name} needs a table of {2 * reach} entries, more than {_MAX_TABLE}.')
  return reach


def _thresholds(masses):
  """Returns floor(2^63 P(X <= k)), capped below 2^63, from masses of 0, 1, 2, ... of a symmetric distribution."""
  total = 2 * sum(masses) - masses[0]
  below, thresholds = decimal.Decimal(0), []
  for mass in [*masses[:0:-1], *masses]:
    below += mass
    thresholds.append(min(int(below / total * 2 ** _TABLE_BITS), 2 ** _TABLE_BITS - 1))
  return np.array(thresholds, np.int64)
