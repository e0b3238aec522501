"""Whole numbers of a few bits in bytes, in TensorFlow's built-in kernels: what a compressed update really takes.

Layout: bit planes. Byte i of plane j holds bit j of the numbers 8 i ... 8 i + 7, the first in its lowest bit.
"""

import tensorflow as tf


def packed_length(count: int) -> int:
  """Returns the bytes of one plane of `count` numbers."""
  return -(-count // 8)


def pack(numbers: tf.Tensor, bits: int) -> tf.Tensor:
  """Returns [bits, ceil(n / 8)] uint8 for [n] int32 in 0..2**bits - 1."""
  count = int(numbers.shape[0])
  eights = tf.reshape(tf.pad(numbers, [[0, 8 * packed_length(count) - count]]), [-1, 8])
  places = tf.constant([1 << i for i in range(8)], tf.int32)
  planes = (tf.bitwise.bitwise_and(tf.bitwise.right_shift(eights, plane), 1) for plane in range(bits))
  return tf.stack([tf.cast(tf.reduce_sum(ones * places, axis=1), tf.uint8) for ones in planes])


def unpack(packed: tf.Tensor, count: int) -> tf.Tensor:
  """Returns the [count] int32 that `pack` wrote."""
  total = tf.zeros([int(packed.shape[1]), 8], tf.int32)
  for plane in range(int(packed.shape[0])):
    eights = tf.bitwise.right_shift(tf.cast(packed[plane], tf.int32)[:, None], tf.range(8))
    total += tf.bitwise.left_shift(tf.bitwise.bitwise_and(eights, 1), plane)
  return tf.reshape(total, [-1])[:count]
