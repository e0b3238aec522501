"""Whether numbers are finite, at the price of reading them once."""

from collections.abc import Sequence

import tensorflow as tf


def all_finite(parts: Sequence[tf.Tensor]) -> tf.Tensor:
  """Returns whether all numbers of all floating tensors are, bool []; runs on clients and server.

  A sum of squares is finite only if each of them is. One that is not may come from numbers whose squares leave the
  range of float32: only then each is looked at.
  """
  squares = tf.add_n([tf.constant(0.0), *(tf.cast(tf.nn.l2_loss(part), tf.float32) for part in parts)])
  return tf.cond(tf.math.is_finite(squares), lambda: tf.constant(True),
                 lambda: tf.reduce_all([tf.reduce_all(tf.math.is_finite(part)) for part in parts]))
