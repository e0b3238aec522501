"""Derives the noise key of a round from the exact numbers that the noise covers.

If the noise depended only on the round, the same round over another cohort would get the same noise, and the
difference of the two outputs would be a client's exact update. Here the key is a pseudo-random function of (secret
key, round, total). A round that is repeated over the same clients repeats its output; over other clients it gets
different noise. Hash, then PRF (Carter & Wegman 1981): a universal hash under a secret key, then ChaCha20 of the hash.
"""

from collections.abc import Sequence

import tensorflow as tf

from tff_vision.secure import chacha20

_PRIME = 2**26 - 5
_LANES = 5  # Independent hashes: two totals collide with probability (2 / _PRIME)^5, about 2^-124.
_LIMB_BITS = 16
_COLUMNS = 2048  # _COLUMNS * 2^_LIMB_BITS * _PRIME < 2^53: every sum of products is exact in float64, in any order.


def round_key(key: tf.Tensor, round_num: tf.Tensor, totals: Sequence[tf.Tensor]) -> tf.Tensor:
  """Returns the key of a round's noise, [8] uint32; runs on the server.

  Args:
    key: [8] uint32, the run's secret; used for nothing else.
    round_num: A scalar.
    totals: All exact sums to which the noise is added, int64, of static shapes.
  """
  subkeys = tf.reshape(chacha20.key_stream(key, tf.zeros([3], tf.uint32), 16), [2, 8])
  digest = tf.cast(_hash(subkeys[0], totals), tf.uint32)
  # 130 bits do not fit one nonce of 96 bits: two blocks in cascade, where the first block gives the second one's key.
  inner = chacha20.key_stream(subkeys[1], digest[:3], 8)
  return chacha20.key_stream(inner, tf.concat([digest[3:], tf.cast(round_num, tf.uint32)[None]], 0), 8)


def _hash(key, totals):
  """Returns [_LANES] int64 below _PRIME: a linear hash of each row of limbs, then one of the rows' hashes.

  Two different totals differ in a limb by less than _PRIME. A row in which they differ has equal hashes with
  probability 1 / _PRIME. If the row hashes differ, the second hash collides with the same probability.
  """
  numbers = tf.concat([tf.reshape(total, [-1]) for total in totals], 0)
  size = numbers.shape[0]
  rows = -(-size * (64 // _LIMB_BITS) // _COLUMNS)
  limbs = tf.concat([tf.bitwise.bitwise_and(tf.bitwise.right_shift(numbers, tf.constant(shift, tf.int64)),
                                            tf.constant(2**_LIMB_BITS - 1, tf.int64))
                     for shift in range(0, 64, _LIMB_BITS)], 0)
  limbs = tf.pad(tf.cast(limbs, tf.float64), [[0, rows * _COLUMNS - limbs.shape[0]]])
  words = tf.cast(chacha20.key_stream(key, tf.zeros([3], tf.uint32), _LANES * (_COLUMNS + rows)), tf.int64) % _PRIME
  first = tf.cast(tf.reshape(words[:_LANES * _COLUMNS], [_COLUMNS, _LANES]), tf.float64)
  second = tf.reshape(words[_LANES * _COLUMNS:], [rows, _LANES])
  hashed = tf.cast(tf.matmul(tf.reshape(limbs, [rows, _COLUMNS]), first), tf.int64) % _PRIME
  return tf.reduce_sum(hashed * second % _PRIME, 0) % _PRIME
