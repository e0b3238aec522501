"""Checks the taps of a model on a few batches before training.

A tap records the inputs and outputs of a layer with weights. Taps miss weights that are used outside of their layer's
call, and layers that fold the batch into another axis; the norms would then not be those of an example's gradient.
`independence` proves that examples of a batch do not affect each other. The check here tests this again numerically,
with inputs from ordinary to extreme.
"""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf

from tff_vision.privacy.ghost import rules, taps

_EXAMPLES = 3
# Relative to the largest entry of the weight's own gradient, and of all gradients. Where gradients cancel out, only
# float32 rounding errors are left.
_TOLERANCE, _NEGLIGIBLE = 1e-3, 1e-5
_SEED = 7

Rule = Callable[[taps.Tap, tf.Tensor], rules.Contribution]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pass:
  """A traced forward pass of a tapped model.

  Attributes:
    run: Takes a batch of any size; `run.outputs` are the model's outputs and all tensors that its taps hold.
    found: The taps.
  """
  run: Callable[[tf.Tensor], Sequence[tf.Tensor]]
  found: Sequence[taps.Tap]


def trace(model: tf.keras.Model, input_spec: tf.TensorSpec) -> Pass:
  """Returns the forward pass in training mode; the first call of every trace draws the same random numbers.

  Raises:
    UnsupportedError: The model cannot be tapped.
  """
  recorded = []

  def forward(inputs):
    tf.compat.v1.get_default_graph().seed = _SEED
    with taps.tapped(model) as found:
      outputs = model(inputs, training=True)
    recorded.extend(found)
    return tf.nest.flatten(outputs) + [part for tap in found for part in (tap.inputs, tap.outputs, tap.normalized)
                                       if part is not None]

  try:
    run = tf.function(forward).get_concrete_function(tf.TensorSpec((None, *input_spec.shape[1:]), input_spec.dtype))
  except Exception as error:  # AutoGraph, which makes operations of branches in layers, raises another kind.
    if isinstance(error.__context__, taps.UnsupportedError):
      raise error.__context__ from None
    raise
  return Pass(run=run, found=recorded)


def check(model: tf.keras.Model, input_spec: tf.TensorSpec, passed: Pass, rule_of: Callable[[taps.Tap], Rule]) -> None:
  """Raises `taps.UnsupportedError`, with the reason, unless taps give the gradient of each example of `model`.

  Args:
    input_spec: The spec of a batch.
    passed: The result of `trace`.
    rule_of: Returns the rule that will be used for a tap.
  """
  x = _ordinary(input_spec, _EXAMPLES)
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
  _meet(input_spec, passed)


def _meet(input_spec, passed):
  """Raises if the other examples of a batch change the results of the first one, in training mode."""
  operations = {op.type: op for op in passed.run.graph.get_operations()}
  if 'RngReadAndSkip' in operations:  # No two calls draw the same numbers, so the proof alone must suffice.
    return
  random = any('seed2' in op.node_def.attr for op in operations.values())
  run = _drawing_anew(passed.run) if random else passed.run
  x = _ordinary(input_spec, _EXAMPLES)
  constant = lambda like, value: tf.zeros_like(like) + tf.cast(value, like.dtype)
  others = [x[1:], x[:0:-1], constant(x[1:], 0)]
  firsts = [x[:1], constant(x[:1], 0), constant(x[:1], 1)]
  if x.dtype.is_floating:
    others += [-100 * x[1:], constant(x[1:], 1e4)]
  if random:  # Each call costs as much as the first call of a new function.
    firsts, others = firsts[:1], [others[0], others[-1]]
  for first in firsts:
    found = [[part[:1] for part in outputs] for other in others if (
        outputs := _computed(run, tf.concat([first, other], 0))) is not None]
    if any(not _equal(one, other) for changed in found for one, other in zip(found[0], changed, strict=True)):
      raise taps.UnsupportedError('an output for one example changes with the others of its batch')
  if random:
    return
  # Kernels may sum in another order when the batch size differs.
  for one, other in zip(run(x), run(x[:1]), strict=True):
    if not _largest(one[:1] - other) <= _TOLERANCE * _largest(one):
      raise taps.UnsupportedError('an output for one example changes with the size of its batch')


def _drawing_anew(run):
  """Returns `run` with the same random numbers in each call: each call makes the function anew."""
  return lambda batch: type(run).from_func_graph(run.graph, run.function_type, {})(batch)


def _computed(run, batch):
  try:
    return run(batch)
  except tf.errors.InvalidArgumentError:  # An input indexes a table row that does not exist.
    return None


def _equal(one, other):
  if not one.dtype.is_floating:
    return bool(tf.reduce_all(tf.equal(one, other)))
  return bool(tf.reduce_all(tf.equal(one, other) | (tf.math.is_nan(one) & tf.math.is_nan(other))))


def _ordinary(input_spec, number):
  return tf.cast(tf.random.stateless_uniform((number, *input_spec.shape[1:]), [1, 2]), input_spec.dtype)


def _compare(model, found, tape, total, rule_of):
  """Raises unless the sum of the examples' gradients is the gradient of the batch."""
  derivatives = tape.gradient(total, [tap.outputs for tap in found],
                              unconnected_gradients=tf.UnconnectedGradients.ZERO)
  sums = {}
  for tap, dz in zip(found, derivatives, strict=True):
    parts = rule_of(tap)(tap, dz).weighted_sum(tf.ones(_EXAMPLES, tf.float64), lambda tensor: tensor)
    sums |= {weight.ref(): tf.cast(part, tf.float32) for weight, part in zip(
        taps.own_weights(tap.layer), parts, strict=True)}
  gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(
      total, model.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)]
  negligible = _NEGLIGIBLE * max(_largest(gradient) for gradient in gradients)
  for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
    missing = gradient - tf.reshape(sums.get(weight.ref(), tf.zeros(weight.shape)), weight.shape)
    if not _largest(missing) <= _TOLERANCE * _largest(gradient) + negligible:
      raise taps.UnsupportedError(f'weight {weight.name} is used outside of its layer')


def _largest(tensor):
  return float(tf.reduce_max(tf.abs(tensor)))
