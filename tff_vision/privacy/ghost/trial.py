"""Whether taps tell the truth about a model: a trial on a few random examples, before anything is trained.

Taps see what layers with weights are given. They miss weights that are used outside of their layer's call, layers that
fold the batch into another axis, and whatever makes one example's output depend on another's: then norms would not be
those of an example's gradient.
"""

from collections.abc import Callable

import tensorflow as tf

from tff_vision.privacy.ghost import rules, taps

_EXAMPLES = 3
# Of the largest entry of a weight's gradient, and of all; what cancels out leaves nothing but float32's own errors.
_TOLERANCE, _NEGLIGIBLE = 1e-3, 1e-5

Rule = Callable[[taps.Tap, tf.Tensor], rules.Contribution]


def check(model: tf.keras.Model, input_spec: tf.TensorSpec, rule_of: Callable[[taps.Tap], Rule]) -> None:
  """Raises `taps.UnsupportedError`, with the reason, unless taps give the gradients of `model` example by example.

  Args:
    input_spec: Of a batch.
    rule_of: The rule that will be used for a tap.
  """
  x = tf.cast(tf.random.stateless_uniform((_EXAMPLES, *input_spec.shape[1:]), [1, 2]), input_spec.dtype)
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(x)
    with taps.tapped(model) as found:
      outputs = model(x, training=True)
    weighted = outputs * tf.random.stateless_normal(tf.shape(outputs), [3, 4])
    of_first, total = tf.reduce_sum(weighted[0]), tf.reduce_sum(weighted)
  for tap in found:
    if not tap.inputs.shape[0] == tap.outputs.shape[0] == _EXAMPLES:
      raise taps.UnsupportedError(f'layer {tap.layer.name} is given the batch in another shape')
  places = [tap.outputs for tap in found] + ([x] if x.dtype.is_floating else [])
  for moved in tape.gradient(of_first, places, unconnected_gradients=tf.UnconnectedGradients.ZERO):
    if tf.reduce_any(moved[1:] != 0):
      raise taps.UnsupportedError('an output for one example depends on the others of its batch')
  _compare(model, found, tape, total, rule_of)


def _compare(model, found, tape, total, rule_of):
  """Raises unless the examples' gradients, added up, are the gradient."""
  derivatives = tape.gradient(total, [tap.outputs for tap in found],
                              unconnected_gradients=tf.UnconnectedGradients.ZERO)
  sums = {}
  for tap, dz in zip(found, derivatives, strict=True):
    parts = rule_of(tap)(tap, dz).weighted_sum(tf.ones(_EXAMPLES), lambda tensor: tensor)
    sums |= {weight.ref(): part for weight, part in zip(taps.own_weights(tap.layer), parts, strict=True)}
  gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(
      total, model.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)]
  negligible = _NEGLIGIBLE * max(_largest(gradient) for gradient in gradients)
  for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
    missing = gradient - tf.reshape(sums.get(weight.ref(), tf.zeros(weight.shape)), weight.shape)
    if not _largest(missing) <= _TOLERANCE * _largest(gradient) + negligible:
      raise taps.UnsupportedError(f'weight {weight.name} is used outside of its layer')


def _largest(tensor):
  return float(tf.reduce_max(tf.abs(tensor)))
