"""Real numbers as small integers, and several small integers in one plaintext coefficient.

Sums of integers are exact, so the only error of an encrypted sum is the rounding here: less than one step for
each client, and zero on average, because rounding is stochastic. All functions are TensorFlow graph code; they
run on the client before encryption, and on the server after decryption.
"""

import tensorflow as tf


def refuse_bad_values(values: tf.Tensor, value_range: float) -> tf.Tensor:
  """Returns `values`; the computation fails where one is not finite or larger than `value_range`.

  The message names no value: it travels to the server.
  """
  finite = tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(values)), [
      'secure sum: an update of a client holds NaN or infinity, so nothing was encrypted and the round fails; '
      'lower client_learning_rate or clip updates.'])
  with tf.control_dependencies([finite]):
    inside = tf.debugging.Assert(tf.reduce_all(tf.abs(values) <= value_range), [
        f'secure sum: an update of a client has an element beyond secure_range={value_range:g}, so nothing was '
        'encrypted and the round fails; raise secure_range or clip updates.'])
  with tf.control_dependencies([inside]):
    return tf.identity(values)


def quantize(values: tf.Tensor, value_range: float, offset: int, seed: tf.Tensor) -> tf.Tensor:
  """Returns integers in [0, 2 * offset] with expectation offset * (1 + values / value_range).

  Args:
    values: [n] float32 within value_range.
    value_range: The magnitude that becomes `offset`.
    offset: Below 2**22.
    seed: [2] int32 for the dither; rounding reveals nothing, so this needs to be no secret.

  Returns:
    [n] float64 of whole numbers.
  """
  scaled = tf.cast(values, tf.float64) * (offset / value_range)
  dither = tf.cast(tf.random.stateless_uniform(tf.shape(values), seed, dtype=tf.float32), tf.float64)
  return tf.clip_by_value(tf.floor(scaled + dither), -float(offset), float(offset)) + float(offset)


def dequantize(total: tf.Tensor, clients: tf.Tensor, value_range: float, offset: int) -> tf.Tensor:
  """Returns the sum of real values, [n] float32, from the sum of `clients` quantised ones, [n] int64."""
  centred = tf.cast(total - tf.cast(clients, tf.int64) * offset, tf.float64)
  return tf.cast(centred * (value_range / offset), tf.float32)


def to_fields(integers: tf.Tensor, values_per_coefficient: int, polynomials: int, degree: int) -> tf.Tensor:
  """Returns [polynomials, values_per_coefficient, degree]: `integers`, [n], padded with zeros."""
  capacity = polynomials * values_per_coefficient * degree
  padded = tf.pad(integers, [[0, capacity - integers.shape[0]]])
  return tf.reshape(padded, [polynomials, values_per_coefficient, degree])


def from_coefficients(coefficients: tf.Tensor, field_bits: int, values_per_coefficient: int, length: int):
  """Returns the first `length` fields, [length] int64, of [polynomials, degree] int64 coefficients."""
  mask = tf.constant((1 << field_bits) - 1, tf.int64)
  fields = [tf.bitwise.bitwise_and(tf.bitwise.right_shift(coefficients, tf.constant(field_bits * k, tf.int64)), mask)
            for k in range(values_per_coefficient)]
  return tf.reshape(tf.stack(fields, axis=1), [-1])[:length]
