"""Per-example gradient norms of one layer, and the weighted sum of its per-example gradients.

From a layer's inputs x_i and the loss's derivative dz_i at its outputs. The norm of x_i dz_i^T is that of its
factors (Goodfellow 2015, arXiv:1510.01799); over T positions it comes from two T x T Gram matrices (Li et al. 2022,
arXiv:2110.05679) or from the gradient itself, whichever is less work. The weighted sum is one local
backward step (book-keeping: Bu et al. 2023, arXiv:2210.00038).
"""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf

from tff_vision.privacy.ghost import convolution
from tff_vision.privacy.ghost.taps import Tap, own_weights

# A per-example tensor -> the same with the rows of broken examples zeroed.
Keep = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Contribution:
  """What one layer adds.

  Attributes:
    squared_norms: [batch], of its part of each example's gradient.
    weighted_sum: (coefficients [batch], keep) -> one tensor for each of the layer's own weights:
      sum_i coefficients_i * gradient_i.
  """
  squared_norms: tf.Tensor
  weighted_sum: Callable[[tf.Tensor, Keep], Sequence[tf.Tensor]]


def squares(tensor: tf.Tensor) -> tf.Tensor:
  """Returns the sum of squares of each example, [batch]."""
  return tf.reduce_sum(tensor * tensor, list(range(1, tensor.shape.rank)))


def of_gradients(gradients: Sequence[tf.Tensor]) -> Contribution:
  """Returns the contribution of materialised per-example gradients, each [batch, *weight shape]."""
  return Contribution(tf.add_n([squares(gradient) for gradient in gradients]),
                      lambda coefficients, keep: [tf.tensordot(coefficients, keep(gradient), 1)
                                                  for gradient in gradients])


def dense(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`Dense` on [batch, features] or [batch, ..., features]."""
  inputs, outputs = tap.inputs.shape[-1], dz.shape[-1]
  x = tf.reshape(tap.inputs, [tf.shape(dz)[0], -1, inputs])
  d = tf.reshape(dz, [tf.shape(dz)[0], -1, outputs])
  if dz.shape.rank == 2:
    norms = squares(tap.inputs) * squares(dz)
  else:
    norms = product_norms(x, d, positions=dz.shape[1:-1].num_elements())
  if tap.layer.use_bias:
    norms += squares(tf.reduce_sum(d, 1))

  def weighted_sum(coefficients, keep):
    rows = tf.reshape(keep(d) * coefficients[:, None, None], [-1, outputs])
    kernel = tf.matmul(tf.reshape(keep(x), [-1, inputs]), rows, transpose_a=True)
    return [kernel, tf.reduce_sum(rows, 0)] if tap.layer.use_bias else [kernel]

  return Contribution(norms, weighted_sum)


def product_norms(x: tf.Tensor, d: tf.Tensor, *, positions: int | None) -> tf.Tensor:
  """Returns ||x_i^T d_i||^2, [batch], for x [batch, T, p] and d [batch, T, q]; T is `positions`, None if unknown."""
  p, q = x.shape[-1], d.shape[-1]
  if positions is not None and positions * (p + q) < p * q:
    return tf.reduce_sum(tf.matmul(x, x, transpose_b=True) * tf.matmul(d, d, transpose_b=True), [1, 2])
  return squares(tf.matmul(x, d, transpose_a=True))


def conv2d(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`Conv2D` without groups, channels last."""
  layer = tap.layer
  positions = dz.shape[1] * dz.shape[2]
  fan_in, filters = layer.kernel.shape[:3].num_elements(), dz.shape[-1]
  bias = tf.reduce_sum(dz, [1, 2])
  if positions * (fan_in + filters) >= fan_in * filters:
    gradients = convolution.example_filter_gradients(layer, tap.inputs, dz)
    return of_gradients([gradients, bias] if layer.use_bias else [gradients])
  # Late layers: few positions, many channels.
  patches = tf.reshape(convolution.patches(layer, tap.inputs), [-1, positions, fan_in])
  norms = product_norms(patches, tf.reshape(dz, [-1, positions, filters]), positions=positions)
  if layer.use_bias:
    norms += squares(bias)

  def weighted_sum(coefficients, keep):
    kernel = convolution.filter_gradient(layer, keep(tap.inputs), keep(dz) * coefficients[:, None, None, None])
    return [kernel, tf.tensordot(coefficients, keep(bias), 1)] if layer.use_bias else [kernel]

  return Contribution(norms, weighted_sum)


def depthwise_conv2d(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`DepthwiseConv2D` without dilation, channels last: its filters are small enough to hold one an example."""
  gradients = convolution.example_depthwise_gradients(tap.layer, tap.inputs, dz)
  return of_gradients([gradients, tf.reduce_sum(dz, [1, 2])] if tap.layer.use_bias else [gradients])


def einsum_dense(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`EinsumDense`, the projections of `MultiHeadAttention`: the gradient is an einsum of inputs and dz."""
  operands, result = tap.layer.equation.replace(' ', '').split('->')
  inputs, kernel = operands.split(',')
  batch = inputs[0]
  gradients = [tf.einsum(f'{inputs},{result}->{batch}{kernel}', tap.inputs, dz)]
  if tap.layer.bias is not None:
    # The bias has the trailing axes' shape with ones where it is broadcast.
    shape = [1] * (dz.shape.rank - 1 - tap.layer.bias.shape.rank) + tap.layer.bias.shape.as_list()
    summed = [axis + 1 for axis, size in enumerate(shape) if size == 1]
    gradients.append(tf.reshape(tf.reduce_sum(dz, summed), [-1, *tap.layer.bias.shape]))
  return of_gradients(gradients)


def is_plain_einsum(equation: str) -> bool:
  """Whether the first axis is the batch's in inputs and outputs, and no axis is left to an ellipsis."""
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
  return of_gradients(gradients)


def embedding(tap: Tap, dz: tf.Tensor) -> Contribution:
  """`Embedding`: rows of equal ids add up before the norm is taken."""
  batch, width = tf.shape(dz)[0], dz.shape[-1]
  ids = tf.reshape(tf.cast(tap.inputs, tf.int32), [batch, -1])
  d = tf.reshape(dz, [batch, -1, width])
  same = tf.cast(ids[:, :, None] == ids[:, None], d.dtype)
  norms = tf.reduce_sum(same * tf.matmul(d, d, transpose_b=True), [1, 2])

  def weighted_sum(coefficients, keep):
    rows = tf.reshape(keep(d) * coefficients[:, None, None], [-1, width])
    return [tf.math.unsorted_segment_sum(rows, tf.reshape(ids, [-1]), tap.layer.input_dim)]

  return Contribution(norms, weighted_sum)


def any_layer(tap: Tap, dz: tf.Tensor) -> Contribution:
  """Any other layer: its own gradient, one example after the other."""
  weights = own_weights(tap.layer)

  def gradient(example):
    inputs, derivative = example
    with tf.GradientTape() as tape:
      outputs = tap.recompute(inputs[None])
    return tape.gradient(outputs, weights, output_gradients=derivative[None],
                         unconnected_gradients=tf.UnconnectedGradients.ZERO)

  specs = [tf.TensorSpec(weight.shape, weight.dtype) for weight in weights]
  return of_gradients(tf.map_fn(gradient, (tap.inputs, dz), fn_output_signature=specs))
