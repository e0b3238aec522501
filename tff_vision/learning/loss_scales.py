"""Loss scaling for gradients whose products are computed in float16.

float16 has no numbers below 6e-8 but zero. The loss is multiplied by a power of two before its gradient is taken, and
the gradient is divided by it in float32: Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2. If a
scaled gradient leaves the range of float16, its step is not made.

A `dynamic` scale follows the rule of Keras' `LossScaleOptimizer`, with its constants, but begins anew for every client
and round, so that a round depends neither on earlier ones nor on the lane that computes it.
"""

import tensorflow as tf

State = tuple[tf.Tensor, tf.Tensor]
_FIRST, _GROWS_AFTER = 2.0 ** 15, 2000
_LARGEST = 2.0 ** 24  # Keras ends at infinity, far beyond any use.


def first(scale: str) -> State:
  """Returns the state before a client's first step: the scale, float32 [], and the steps since it changed, int32 [].

  Args:
    scale: As `ClientConfig.loss_scale`.
  """
  return tf.constant(_FIRST if scale == 'dynamic' else float(scale)), tf.constant(0)


def following(scale: str, state: State, is_finite: tf.Tensor) -> State:
  """Returns the state after a step: halved, down to 1, if the gradient was not finite, doubled after 2,000 others."""
  if scale != 'dynamic':
    return state
  value, since = state
  grows = tf.logical_and(is_finite, since + 1 >= _GROWS_AFTER)
  value = tf.where(is_finite, tf.where(grows, tf.minimum(2 * value, _LARGEST), value), tf.maximum(value / 2, 1.0))
  return value, tf.where(tf.logical_or(grows, tf.logical_not(is_finite)), 0, since + 1)
