"""Updates as integers on a grid, so that noise and data are never added in floating point.

The low bits of a floating-point sum can reveal which numbers were added (Mironov, CCS 2012). Here a client clips its
update and rounds it to multiples of clip * 2^-20, sums are exact, and noise is added as an integer. Every output lies
on the same grid for any data. Rounding moves an update by at most half a grid step per coordinate. The clip leaves
room for this, so the sensitivity is exactly the clip norm. If a hidden sum returns real numbers, these are rounded to
the grid as well: `hidden_sensitivity`.
"""

import math

import tensorflow as tf

STEPS = 2 ** 20  # Grid steps in one clip norm.


def encode(tensors: list[tf.Tensor], clip_norm: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
  """Returns the clipped update in grid steps, int64, of L2 norm at most STEPS, and its norm before clipping.

  Runs on the client. An update with a non-finite value counts as zero.

  Args:
    tensors: The update, in floating point.
    clip_norm: A positive scalar.
  """
  scaled = [tf.cast(tensor, tf.float64) * (STEPS / tf.cast(clip_norm, tf.float64)) for tensor in tensors]
  norm = tf.sqrt(tf.add_n([tf.reduce_sum(tensor * tensor) for tensor in scaled]))
  finite = tf.math.is_finite(norm)
  factor = tf.minimum(tf.constant(1.0, tf.float64), room(tensors) / norm)
  # 0 * inf is NaN, so non-finite updates are replaced, not scaled.
  clipped = [tf.where(finite, tensor * factor, tf.zeros_like(tensor)) for tensor in scaled]
  return [tf.cast(tf.round(tensor), tf.int64) for tensor in clipped], norm / STEPS * tf.cast(clip_norm, tf.float64)


def room(tensors: list[tf.Tensor]) -> float:
  """Returns the largest norm, in grid steps, that rounding cannot increase beyond STEPS."""
  size = sum(math.prod(tensor.shape) for tensor in tensors)
  # Half a step per coordinate here, and the same again for the rounding in a noise stream, see `streams`.
  left = STEPS - math.sqrt(size)
  if left < STEPS / 2:
    raise ValueError(f'an update of {size} numbers is too large for a grid of {STEPS} steps.')
  return left


def hidden_sensitivity(size: int, clients: float) -> float:
  """Returns the L2 norm, in grid steps, by which one client moves a hidden sum that was rounded by `steps`.

  A client's integers, in the secure sum's own fixed point, respect the clip norm (`secure.fixed_point.Encoding`). But
  two sums that differ by a vector v differ by up to |v| + sqrt(size) after both are rounded to the grid: half a step
  per coordinate for each sum. Before that, they were cast to float32, which moves a sum of n updates by up to
  n STEPS / 2^24. The clip in fixed point is also in float32, accurate to a quarter of a step.

  Args:
    size: Number of coordinates of an update.
    clients: Expected number of clients in a sum; a Poisson cohort of 2 * clients + 64 has a probability below 2^-100.
  """
  return STEPS + math.sqrt(size) + 2 * (2 * clients + 64) * STEPS / 2**24 + 1


def steps(total: tf.Tensor, clip_norm: tf.Tensor) -> tf.Tensor:
  """Returns a sum as int64 grid steps; the sum may be integers or real numbers."""
  if total.dtype == tf.int64:
    return total
  return tf.cast(tf.round(tf.cast(total, tf.float64) * (STEPS / tf.cast(clip_norm, tf.float64))), tf.int64)


def decode(total: tf.Tensor, noise: tf.Tensor | int, clip_norm: tf.Tensor) -> tf.Tensor:
  """Returns float64 (total + noise) in the update's own units; runs on the server.

  Args:
    total: int64 sum of encoded updates.
    noise: int64, in grid steps; a total must not be combined with floating-point numbers before it has its noise.
    clip_norm: A scalar.
  """
  return tf.cast(total + noise, tf.float64) * (tf.cast(clip_norm, tf.float64) / STEPS)
