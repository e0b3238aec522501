"""The sum of clipped per-example gradients: what differentially private SGD adds noise to.

Abadi et al. 2016, arXiv:1607.00133, algorithm 1. One forward pass and one backward pass; where a model cannot be
tapped, a loop over examples.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tff_vision import passes
from tff_vision.models import added_losses
from tff_vision.privacy.ghost import batch_check, independence, penalties, rules, taps

# Margin for the float64 rounding error of the sum, twice: with and without an example. The error stays within it while
# examples of a batch, times examples of a piece, times positions at which a kernel is used, are 2^26 or fewer.
_SLACK = 1 - 2.0 ** -16
_TRIAL = 16  # Examples in a timed batch.
# The memory held until the norms are known grows with the batch, so a batch is processed in pieces of this many
# examples. Small models take larger pieces: with few examples, starting an operation would cost more than running it.
_PIECE, _SMALL_PIECE, _SMALL_MODEL = 64, 256, 200_000
_RULES: Sequence[tuple[type, Callable[[taps.Tap], bool], Callable]] = (
    (tf.keras.layers.Dense, lambda tap: True, rules.dense),
    (tf.keras.layers.Conv2D, lambda tap: tap.layer.groups == 1 and tap.layer.data_format == 'channels_last',
     rules.conv2d),
    (tf.keras.layers.Conv2DTranspose, lambda tap: tap.layer.data_format == 'channels_last'
     and tuple(tap.layer.dilation_rate) == (1, 1), rules.conv2d_transpose),
    (tf.keras.layers.DepthwiseConv2D, lambda tap: tap.layer.data_format == 'channels_last'
     and tuple(tap.layer.dilation_rate) == (1, 1) and tap.layer.strides[0] == tap.layer.strides[1],
     rules.depthwise_conv2d),
    (tf.keras.layers.EinsumDense, lambda tap: rules.is_plain_einsum(tap.layer.equation), rules.einsum_dense),
    *((kind, lambda tap: tap.normalized is not None, rules.normalization) for kind in taps.NORMALIZATIONS),
    (tf.keras.layers.Embedding, lambda tap: True, rules.embedding),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
  """How a model's per-example gradients are clipped.

  Attributes:
    ghost: Whether norms come from taps; otherwise examples are differentiated one by one.
    reason: Why this method was chosen, in a few words.
    layers: The name of the rule for each tapped layer; `any_layer` is the slow rule.
  """
  ghost: bool
  reason: str
  layers: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClippedSum:
  """The clipped sum of one step, which is released after noise is added.

  Attributes:
    gradients: One float64 tensor for each trainable variable.
    norms: float64 [batch], norms of the examples' gradients before clipping: upper bounds, about 2^-16 too large.
    losses: [batch].
  """
  gradients: Sequence[tf.Tensor]
  norms: tf.Tensor
  losses: tf.Tensor


def examine(model: tf.keras.Model, input_spec: tf.TensorSpec) -> Method:
  """Returns how the model's gradients will be clipped; where either method may be faster, both are timed.

  Examples share a pass only if the traced forward pass proves that it keeps them apart.

  Raises:
    ValueError: No clipping method bounds the influence of an example: a layer mixes the examples of a batch, keeps
      state that depends on them, or adds a loss that is neither a function of weights nor of an example's own outputs.
  """
  taps.refuse_mixing(model)
  penalties.check(model, input_spec)
  layers = {}
  try:
    if layer := penalties.regularises_outputs(model):
      raise taps.UnsupportedError(f'layer {layer.name} regularises its outputs')
    passed = batch_check.trace(model, input_spec)
    independence.check(passed.run.graph, passed.run.inputs[0], passed.run.outputs)
    layers.update({tap.layer.name: _rule(tap).__name__ for tap in passed.found})
    batch_check.check(model, input_spec, passed, _rule)
  except taps.UnsupportedError as error:
    return Method(ghost=False, reason=str(error), layers={})
  if _mostly_dense(model):
    return Method(ghost=True, reason='most weights are in dense layers', layers=layers)
  # With many small convolutions, either method may be faster.
  tapped, looped = (_seconds(model, input_spec, ghost) for ghost in (True, False))
  return Method(ghost=tapped <= looped, layers=layers if tapped <= looped else {},
                reason=f'measured {_TRIAL / tapped:.0f} examples/s with taps, {_TRIAL / looped:.0f} one by one')


def _mostly_dense(model):
  dense = (tf.keras.layers.Dense, tf.keras.layers.EinsumDense, tf.keras.layers.Embedding)
  size = {layer: sum(weight.shape.num_elements() for weight in taps.own_weights(layer))
          for layer in taps.weighted_layers(model)}
  return 2 * sum(size[layer] for layer in size if isinstance(layer, dense)) >= sum(size.values())


def _seconds(model, input_spec, ghost):
  """Returns the best of a few timings of one batch of zeros; speed does not depend on the values."""
  x = tf.zeros((_TRIAL, *input_spec.shape[1:]), input_spec.dtype)
  step = tf.function(lambda: clipped_sum(
      model, lambda y, outputs: tf.reduce_sum(tf.reshape(outputs, [tf.shape(y)[0], -1]), 1), x, tf.zeros(_TRIAL), 1.0,
      tf.ones(_TRIAL), ghost=ghost).gradients)
  found = []
  for _ in range(4):  # The first call traces.
    started = time.perf_counter()
    _ = [gradient.numpy() for gradient in step()]
    found.append(time.perf_counter() - started)
  return min(found[1:])


def clipped_sum(model: tf.keras.Model, loss_fn: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], x: tf.Tensor,
                y: tf.Tensor, clip_norm: float | tf.Tensor, mask: tf.Tensor, *, ghost: bool = True, copies: int = 1
                ) -> ClippedSum:
  """Returns sum_i mask_i * g_i * min(1, clip_norm / ||g_i||), with g_i the gradient of example i's loss.

  The loss of an example with several copies is the mean over its copies, so one clip bounds all of them together. An
  example with a non-finite gradient counts as zero.

  Args:
    loss_fn: (labels, outputs) -> one loss per row (no reduction).
    x: [batch * copies, ...]; the copies of an example are consecutive rows.
    y: [batch * copies, ...].
    clip_norm: float64 if it is a tensor.
    mask: [batch] of 0 and 1; padding has 0.
    ghost: Whether norms come from taps; the value that `examine` returned.
  """
  if not ghost:
    return _by_loop(model, loss_fn, x, y, clip_norm, mask, copies)
  piece = max(1, (_SMALL_PIECE if model.count_params() < _SMALL_MODEL else _PIECE) // copies)
  if x.shape[0] is not None and x.shape[0] <= piece * copies:
    return _by_taps(model, loss_fn, x, y, clip_norm, mask, copies)
  return _in_pieces(model, loss_fn, x, y, clip_norm, mask, copies, piece)


def _in_pieces(model, loss_fn, x, y, clip_norm, mask, copies, size):
  """Runs `_by_taps` on `size` examples at a time."""
  batch = tf.shape(x)[0] // copies

  def add(start, sums, norms, losses):
    piece, rows = slice(start, start + size), slice(start * copies, (start + size) * copies)
    found = _by_taps(model, loss_fn, x[rows], y[rows], clip_norm, mask[piece], copies)
    sums = [total + part for total, part in zip(sums, found.gradients, strict=True)]
    return start + size, sums, norms.write(start // size, found.norms), losses.write(start // size, found.losses)

  arrays = [tf.TensorArray(dtype, -(-batch // size), infer_shape=False, element_shape=[None])
            for dtype in (tf.float64, tf.float32)]
  _, sums, norms, losses = tf.while_loop(
      lambda start, *_: start < batch, add,
      (tf.constant(0), [tf.zeros(variable.shape, tf.float64) for variable in model.trainable_variables], *arrays),
      parallel_iterations=1)
  return ClippedSum(gradients=sums, norms=norms.concat(), losses=losses.concat())


def _by_taps(model, loss_fn, x, y, clip_norm, mask, copies):
  with passes.training_pass():
    with tf.GradientTape() as tape:
      with taps.tapped(model) as found:
        outputs = model(x, training=True)
      losses = _of_examples(loss_fn(y, outputs), copies)
      total = tf.reduce_sum(losses)
    found = [dataclasses.replace(tap, copies=copies) for tap in found]
    derivatives = tape.gradient(total, [tap.outputs for tap in found],
                                unconnected_gradients=tf.UnconnectedGradients.ZERO)
  parts = [_rule(tap)(tap, dz) for tap, dz in zip(found, derivatives, strict=True)]
  norms = tf.sqrt(tf.add_n([part.squared_norms for part in parts]))
  coefficients, keep = _coefficients(norms, clip_norm, mask)
  gradients = {}
  for tap, part in zip(found, parts, strict=True):
    for weight, value in zip(taps.own_weights(tap.layer), part.weighted_sum(coefficients, keep), strict=True):
      gradients[weight.ref()] = tf.reshape(value, weight.shape)
  return ClippedSum(gradients=[gradients.get(weight.ref(), tf.zeros(weight.shape, tf.float64)) for weight in
                               model.trainable_variables], norms=norms, losses=losses)


def _of_examples(losses, copies):
  return losses if copies == 1 else tf.reduce_mean(tf.reshape(losses, [-1, copies]), 1)


def _coefficients(norms, clip_norm, mask):
  """Returns the factor of each example, and a function that zeroes the rows of non-finite ones: 0 * nan is nan."""
  sound = tf.math.is_finite(norms)
  factors = tf.where(sound, tf.cast(mask, tf.float64) * _factor(norms, clip_norm), tf.zeros_like(norms))

  def keep(tensor):
    rows = tf.reshape(sound, [-1] + [1] * (tensor.shape.rank - 1))
    return tf.cond(tf.reduce_all(sound), lambda: tensor, lambda: tf.where(rows, tensor, tf.zeros_like(tensor)))

  return factors, keep


def _factor(norm, clip_norm):
  return clip_norm * _SLACK / tf.maximum(norm, clip_norm)


def _by_loop(model, loss_fn, x, y, clip_norm, mask, copies):
  """Runs each example, with its copies, in its own pass; its loss includes the layers' regularisers of outputs."""
  variables = model.trainable_variables

  def gradient(index, sums, norms, losses):
    one, label = (tf.ensure_shape(part[index * copies:(index + 1) * copies], [copies, *part.shape[1:]])
                  for part in (x, y))
    with passes.training_pass():
      with tf.GradientTape() as tape:
        outputs, added = added_losses.call(model, one, training=True)
        loss = tf.add_n([tf.reduce_sum(_of_examples(loss_fn(label, outputs), copies)), *added])
      found = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    found = [tf.convert_to_tensor(value) for value in found]
    norm = tf.sqrt(tf.add_n([rules.squares(value[None])[0] for value in found]))
    sound = tf.math.is_finite(norm)
    factor = tf.where(sound, tf.cast(mask[index], tf.float64) * _factor(norm, clip_norm), 0)
    sums = [total + tf.math.multiply_no_nan(tf.cast(value, tf.float64), factor)  # 0 * nan is 0 here.
            for total, value in zip(sums, found, strict=True)]
    return index + 1, sums, norms.write(index, norm), losses.write(index, loss)

  batch = tf.shape(x)[0] // copies
  _, sums, norms, losses = tf.while_loop(
      lambda index, *_: index < batch, gradient,
      (tf.constant(0), [tf.zeros(variable.shape, tf.float64) for variable in variables],
       tf.TensorArray(tf.float64, batch), tf.TensorArray(tf.float32, batch)), parallel_iterations=1)
  return ClippedSum(gradients=sums, norms=norms.stack(), losses=losses.stack())


def _rule(tap):
  for kind, fits, rule in _RULES:
    if type(tap.layer) is kind and fits(tap):
      return rule
  return rules.any_layer
