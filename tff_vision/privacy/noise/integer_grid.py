"""Updates as integers on a grid, so that noise and data are never added in floating point.

The low bits of a floating-point sum can tell which numbers were added (Mironov, CCS 2012). Here a client clips and
rounds its update to multiples of clip * 2^-20, sums are exact, and noise joins as an integer: every output lies on
the same grid whatever the data. Rounding moves an update by at most half a grid step a coordinate, which the clip
leaves room for, so the sensitivity is the clip norm exactly. Where a hidden sum hands real numbers back, those are
rounded to the grid as well: `hidden_sensitivity`.
"""

import math

import tensorflow as tf

STEPS = 2 ** 20  # Grid steps in one clip norm.


def encode(tensors: list[tf.Tensor], clip_norm: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
  """Returns the clipped update in grid steps, int64, of L2 norm at most STEPS, and its norm before clipping.

  Runs on the client. An update with a non-finite value counts as zero.

  Args:
    tensors: The update, floating point.
    clip_norm: Scalar, positive.
  """
  scaled = [tf.cast(tensor, tf.float64) * (STEPS / tf.cast(clip_norm, tf.float64)) for tensor in tensors]
  norm = tf.sqrt(tf.add_n([tf.reduce_sum(tensor * tensor) for tensor in scaled]))
  finite = tf.math.is_finite(norm)
  factor = tf.minimum(tf.constant(1.0, tf.float64), room(tensors) / norm)
  # 0 * inf is no number: non-finite updates are replaced, not scaled.
  clipped = [tf.where(finite, tensor * factor, tf.zeros_like(tensor)) for tensor in scaled]
  return [tf.cast(tf.round(tensor), tf.int64) for tensor in clipped], norm / STEPS * tf.cast(clip_norm, tf.float64)


def room(tensors: list[tf.Tensor]) -> float:
  """Returns the norm, in grid steps, that rounding cannot push beyond STEPS."""
  size = sum(math.prod(tensor.shape) for tensor in tensors)
  # Half a step a coordinate here, and as much again for what a noise stream rounds of its past, see `streams`.
  left = STEPS - math.sqrt(size)
  if left < STEPS / 2:
    raise ValueError(f'an update of {size} numbers is too large for a grid of {STEPS} steps.')
  return left


def hidden_sensitivity(size: int, clients: float) -> float:
  """Returns the L2 norm, in grid steps, by which one client moves a hidden sum that was rounded by `steps`.

  A client's integers, in the secure sum's own fixed point, keep the clip norm, `secure.fixed_point.Encoding`. But two
  sums that differ by a vector v, each rounded to the grid, differ by up to |v| + sqrt(size) there: half a step a
  coordinate each. Before that they were cast to float32, which moves a sum of n updates by up to n STEPS / 2^24; the
  clip in fixed point is in float32 too, good to a quarter of a step.

  Args:
    size: Numbers of an update.
    clients: Expected in a sum; a Poisson cohort of twice as many and 64 has a probability below 2^-100.
  """
  return STEPS + math.sqrt(size) + 2 * (2 * clients + 64) * STEPS / 2**24 + 1


def steps(total: tf.Tensor, clip_norm: tf.Tensor) -> tf.Tensor:
  """Returns a sum as int64 grid steps, whether it was kept as integers or comes as real numbers."""
  if total.dtype == tf.int64:
    return total
  return tf.cast(tf.round(tf.cast(total, tf.float64) * (STEPS / tf.cast(clip_norm, tf.float64))), tf.int64)


def decode(total: tf.Tensor, noise: tf.Tensor | int, clip_norm: tf.Tensor) -> tf.Tensor:
  """Returns float64 (total + noise) in the update's own units; runs on the server.

  Args:
    total: int64 sum of encoded updates.
    noise: int64, in grid steps: no floating-point number may come near a total before it has its noise.
    clip_norm: Scalar.
  """
  return tf.cast(total + noise, tf.float64) * (tf.cast(clip_norm, tf.float64) / STEPS)
