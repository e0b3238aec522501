"""Per-example gradient norms of one layer, and the weighted sum of its per-example gradients.

Both are computed from a layer's inputs x_i and the loss's derivative dz_i at its outputs. The norm of x_i dz_i^T is the
product of the norms of its factors (Goodfellow 2015, arXiv:1510.01799). Over T positions the norm comes from two T x T
Gram matrices (Li et al. 2022, arXiv:2110.05679) or from the gradient itself, whichever is less work. The weighted sum
is one local backward step (book-keeping: Bu et al. 2023, arXiv:2210.00038).

An example may come as several copies: consecutive rows whose gradients are added before the norm is taken. The
positions of the example are then those of all its copies.

Rounding never makes a norm smaller than that of the example's part of the sum. Either both come from one materialised
float32 gradient, or both come from float64 products of the same factors; all sums over examples are in float64.
"""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf

from tff_vision.privacy.ghost import convolution
from tff_vision.privacy.ghost.taps import Tap, own_weights

# Takes a per-example tensor; returns it with the rows of non-finite examples zeroed.
Keep = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Contribution:
  """The contribution of one layer.

  Attributes:
    squared_norms: float64 [batch], of the layer's part of each example's gradient; never below the squared norm of what
      `weighted_sum` adds up, whatever the rounding.
    weighted_sum: (coefficients float64 [batch], keep) -> one float64 tensor for each of the layer's own weights:
      sum_i coefficients_i * gradient_i.
  """
  squared_norms: tf.Tensor
  weighted_sum: Callable[[tf.Tensor, Keep], Sequence[tf.Tensor]]


# This many float32 squares are added in float32, in any order: the sum is off by a factor below (1 + 2^-24)^129.
_ADDED_IN_FLOAT32, _ROUNDED = 128, 1 + 2.0 ** -16
_LOST = 2.0 ** -125  # Bound on the loss from a square that is too small for float32.
# Fraction of (sum_t ||x_t|| ||d_t||)^2 that is added to a squared norm. Terms that cancel leave rounding errors; so a
# gradient's norm never counts for less than 2^-10 of what cancels, and float64 errors in norm and sum stay far below
# the clip.
_CANCELLATION = 2.0 ** -20


def squares(tensor: tf.Tensor) -> tf.Tensor:
  """Returns an upper bound on the sum of squares of each example of a float32 tensor, float64 [batch]."""
  size = tensor.shape[1:].num_elements()
  group = size and max(part for part in range(1, _ADDED_IN_FLOAT32 + 1) if size % part == 0)
  if size is None or group * group < min(size, _ADDED_IN_FLOAT32):
    return tf.reduce_sum(tf.square(tf.cast(tensor, tf.float64)), list(range(1, tensor.shape.rank))) * _ROUNDED
  parts = tf.reduce_sum(tf.square(tf.reshape(tensor, [-1, size // group, group])), 2)
  return tf.reduce_sum(tf.cast(parts, tf.float64), 1) * _ROUNDED + size * _LOST


def of_gradients(gradients: Sequence[tf.Tensor]) -> Contribution:
  """Returns the contribution of materialised per-example gradients, each [batch, *weight shape].

  Norm and sum use the same numbers, so the precision of these numbers does not affect the clip.
  """
  def weighted_sum(coefficients, keep):
    return [tf.reshape(tf.linalg.matvec(
        tf.cast(tf.reshape(keep(gradient), [-1, gradient.shape[1:].num_elements()]), tf.float64), coefficients,
        transpose_a=True), gradient.shape[1:]) for gradient in gradients]

  return Contribution(tf.add_n([squares(gradient) for gradient in gradients]), weighted_sum)


def summed(rows: tf.Tensor, copies: int) -> tf.Tensor:
  """Returns per-example tensors, [batch, ...], summed over the copies of each example, [batch * copies, ...]."""
  return rows if copies == 1 else tf.reduce_sum(tf.reshape(rows, [-1, copies, *rows.shape[1:]]), 1)


def of_factors(x: tf.Tensor, d: tf.Tensor) -> Contribution:
  """Returns the contribution of gradients x_i^T d_i, for x [batch, T, p] and d [batch, T, q], from float64 products."""
  x, d = tf.cast(x, tf.float64), tf.cast(d, tf.float64)
  norms = _gram_norms(tf.matmul(x, x, transpose_b=True), tf.matmul(d, d, transpose_b=True))

  def weighted_sum(coefficients, keep):
    rows = tf.reshape(keep(d) * coefficients[:, None, None], [-1, d.shape[-1]])
    return [tf.matmul(tf.reshape(keep(x), [-1, x.shape[-1]]), rows, transpose_a=True)]

  return Contribution(norms, weighted_sum)


def _gram_norms(of_inputs, of_derivatives):
  """Returns ||sum_t x_t d_t^T||^2, [batch], from the float64 Gram matrices of x and of d of each example."""
  sizes = tf.sqrt(tf.linalg.diag_part(of_inputs) * tf.linalg.diag_part(of_derivatives))
  return (tf.maximum(tf.reduce_sum(of_inputs * of_derivatives, [1, 2]), 0)
          + _CANCELLATION * tf.square(tf.reduce_sum(sizes, 1)))


def with_bias(kernel: Contribution, bias: tf.Tensor | None) -> Contribution:
  """Returns the contribution of a kernel and of a bias with gradients `bias`, [batch, outputs]; None: no bias."""
  if bias is None:
    return kernel
  added = of_gradients([bias])
  return Contribution(kernel.squared_norms + added.squared_norms, lambda coefficients, keep: [
      *kernel.weighted_sum(coefficients, keep), *added.weighted_sum(coefficients, keep)])


def dense(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`Dense` on [batch, features] or [batch, ..., features]."""
  batch = tf.shape(dz)[0] // tap.copies
  x = tf.reshape(tap.inputs, [batch, -1, tap.inputs.shape[-1]])
  d = tf.reshape(dz, [batch, -1, dz.shape[-1]])
  bias = tf.reduce_sum(d, 1) if tap.layer.use_bias else None
  if dz.shape.rank == 2 and tap.copies == 1:
    # The norm of x_i d_i^T is the product of its factors' norms.
    return with_bias(Contribution(squares(tap.inputs) * squares(dz), of_factors(x, d).weighted_sum), bias)
  positions = dz.shape[1:-1].num_elements()
  return with_bias(of_products(x, d, positions=None if positions is None else tap.copies * positions), bias)


def of_products(x: tf.Tensor, d: tf.Tensor, *, positions: int | None) -> Contribution:
  """Returns the contribution of x_i^T d_i, [batch, T, p] and [batch, T, q]; T is `positions`, None if unknown."""
  p, q = x.shape[-1], d.shape[-1]
  if positions is not None and positions * (p + q) < p * q:
    return of_factors(x, d)
  return of_gradients([tf.matmul(x, d, transpose_a=True)])


def conv2d(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`Conv2D` without groups, channels last."""
  layer = tap.layer
  positions = tap.copies * dz.shape[1] * dz.shape[2]
  fan_in, filters = layer.kernel.shape[:3].num_elements(), dz.shape[-1]
  bias = summed(tf.reduce_sum(dz, [1, 2]), tap.copies) if layer.use_bias else None
  if positions * (fan_in + filters) >= fan_in * filters:
    return with_bias(of_gradients([convolution.example_filter_gradients(layer, tap.inputs, dz, tap.copies)]), bias)
  # Late layers have few positions and many channels.
  patches = tf.reshape(convolution.patches(layer, tap.inputs), [-1, positions, fan_in])
  return with_bias(of_factors(patches, tf.reshape(dz, [-1, positions, filters])), bias)


def conv2d_transpose(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`Conv2DTranspose` without dilation, channels last: a convolution read backwards, so dz has the patches."""
  layer = tap.layer
  fan, channels = layer.kernel.shape[:3].num_elements(), tap.inputs.shape[-1]
  positions = tap.copies * tap.inputs.shape[1] * tap.inputs.shape[2]
  patches = tf.reshape(convolution.patches(layer, dz), [-1, positions, fan])
  bias = summed(tf.reduce_sum(dz, [1, 2]), tap.copies) if layer.use_bias else None
  return with_bias(of_products(patches, tf.reshape(tap.inputs, [-1, positions, channels]), positions=positions), bias)


def depthwise_conv2d(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`DepthwiseConv2D` without dilation, channels last: filters are small enough to hold one gradient per example."""
  gradients = [convolution.example_depthwise_gradients(tap.layer, tap.inputs, dz)]
  if tap.layer.use_bias:
    gradients.append(tf.reduce_sum(dz, [1, 2]))
  return of_gradients([summed(gradient, tap.copies) for gradient in gradients])


def einsum_dense(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`EinsumDense`, the projections of `MultiHeadAttention`: the gradient is an einsum of inputs and dz."""
  operands, result = tap.layer.equation.replace(' ', '').split('->')
  inputs, kernel = operands.split(',')
  batch = inputs[0]
  gradients = [tf.einsum(f'{inputs},{result}->{batch}{kernel}', tap.inputs, dz)]
  if tap.layer.bias is not None:
  # The bias has the shape of the trailing axes, with ones where it is broadcast.
    shape = [1] * (dz.shape.rank - 1 - tap.layer.bias.shape.rank) + tap.layer.bias.shape.as_list()
    broadcast = [axis + 1 for axis, size in enumerate(shape) if size == 1]
    gradients.append(tf.reshape(tf.reduce_sum(dz, broadcast), [-1, *tap.layer.bias.shape]))
  return of_gradients([summed(gradient, tap.copies) for gradient in gradients])


def is_plain_einsum(equation: str) -> bool:
  """Whether the first axis of inputs and outputs is the batch, and the equation has no ellipsis."""
  operands, result = equation.replace(' ', '').split('->')
  inputs, kernel = operands.split(',')
  return '.' not in equation and inputs[0] == result[0] and inputs[0] not in kernel


def normalization(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`GroupNormalization` and `LayerNormalization` over the last axis: scale and shift."""
  positions = list(range(1, dz.shape.rank - 1))
  gradients = []
  if tap.layer.scale:
    gradients.append(tf.reduce_sum(dz * tap.normalized, positions))
  if tap.layer.center:
    gradients.append(tf.reduce_sum(dz, positions))
  return of_gradients([summed(gradient, tap.copies) for gradient in gradients])


def embedding(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`Embedding`: rows of equal ids are added before the norm is taken."""
  batch, width = tf.shape(dz)[0] // tap.copies, dz.shape[-1]
  ids = tf.reshape(tf.cast(tap.inputs, tf.int32), [batch, -1])
  d = tf.cast(tf.reshape(dz, [batch, -1, width]), tf.float64)
  norms = _gram_norms(tf.cast(ids[:, :, None] == ids[:, None], tf.float64), tf.matmul(d, d, transpose_b=True))

  def weighted_sum(coefficients, keep):
    rows = tf.reshape(keep(d) * coefficients[:, None, None], [-1, width])
    return [tf.math.unsorted_segment_sum(rows, tf.reshape(ids, [-1]), tap.layer.input_dim)]

  return Contribution(norms, weighted_sum)


def any_layer(tap: Tap, dz: tf.Tensor) -> Contribution:
  """Any other layer: its gradient is computed for one example at a time."""
  weights = own_weights(tap.layer)

  def gradient(example):
    inputs, derivative = example
    with tf.GradientTape() as tape:
      outputs = tap.recompute(inputs[None])
    return tape.gradient(outputs, weights, output_gradients=derivative[None],
                         unconnected_gradients=tf.UnconnectedGradients.ZERO)

  specs = [tf.TensorSpec(weight.shape, weight.dtype) for weight in weights]
  rows = tf.map_fn(gradient, (tap.inputs, dz), fn_output_signature=specs)
  return of_gradients([summed(gradients, tap.copies) for gradients in rows])
