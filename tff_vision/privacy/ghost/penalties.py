"""Regularisers of Keras layers under private SGD.

Regularisers of weights depend on weights alone, which are private already. Their gradient is added after the noise,
without clipping. Regularisers of a layer's outputs are part of an example's own loss and are clipped with it, in a pass
that no other example shares. Any other loss that a layer adds is refused.
"""

import copy
from collections.abc import Sequence

import tensorflow as tf

from tff_vision import plugins
from tff_vision.models import added_losses
from tff_vision.privacy.ghost import independence

# The name scope in which Keras regularises outputs.
_ACTIVITY = 'ActivityRegularizer'


def gradients(model: tf.keras.Model) -> Sequence[tf.Tensor] | None:
  """Returns the gradient of the penalties on weights, by trainable weight; None if there are no penalties."""
  if not any(layer._callable_losses for layer in _layers(model)):
    return None
  with tf.GradientTape() as tape:
    total = tf.add_n(added_losses.of_weights(model))
  return [tf.convert_to_tensor(part) for part in tape.gradient(
      total, model.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)]


def regularises_outputs(model: tf.keras.Model) -> tf.keras.layers.Layer | None:
  """Returns a layer with a regulariser of its outputs, if there is one."""
  return next((layer for layer in _layers(model) if layer._activity_regularizer is not None), None)


def check(model: tf.keras.Model, input_spec: tf.TensorSpec) -> None:
  """Raises ValueError, with the layer's name, for any other added loss, and for state kept of examples."""
  for layer in _layers(model):
    if layer._metrics:
      raise ValueError(f'layer {layer.name} measures its inputs (add_metric), and nothing may be measured without '
                       'noise under example-level privacy: take the metric out.')
  added = []

  def forward(inputs):
    outputs, losses = added_losses.call(model, inputs, training=True)
    added.extend(loss for loss in losses if _ACTIVITY not in loss.name)
    return outputs

  spec = tf.TensorSpec((None, *input_spec.shape[1:]), input_spec.dtype)
  try:
    traced = tf.function(forward).get_concrete_function(spec)
  except Exception as error:
    raise ValueError(f'model {model.name} fails in training mode, for a batch of any size, with '
                     f'{plugins.reason(error)}') from error
  if added:
    name = next((layer.name for layer in _layers(model) if any(
        loss is own for loss in added for own in layer._eager_losses)), model.name)
    raise ValueError(f'layer {name} adds a loss of its own (add_loss): it may compare the examples of a batch, and no '
                     'clip bounds it; use an activity_regularizer, or a function of weights alone.')
  try:
    independence.of_inputs(traced.graph, traced.inputs[0], traced.outputs)
  except independence.StateError as error:
    raise ValueError(f'model {model.name} does not go with example-level privacy: {error}') from None
  try:
    penalties = tf.function(lambda: added_losses.of_weights(model), autograph=False).get_concrete_function()
  except (TypeError, ValueError, tf.errors.InvalidArgumentError):
    penalties = None
  if penalties is None or any(not hasattr(tensor, 'numpy') for tensor in penalties.captured_inputs):
    raise ValueError(f'model {model.name} adds a function to the loss (add_loss) that looks at more than weights, and '
                     'no clip bounds it.')


def check_loss(loss: tf.keras.losses.Loss, labels: tf.TensorSpec, outputs: tf.TensorSpec) -> None:
  """Raises ValueError for a loss that keeps state of the examples that it has seen, such as a running mean.

  Args:
    loss: Takes (labels, outputs); has no reduction.
    labels, outputs: Specs of a batch.
  """
  alone = [tf.TensorSpec((1, *spec.shape[1:]), spec.dtype) for spec in (labels, outputs)]
  # A copy: a loss may create variables at its first call, and another graph cannot use them.
  traced = tf.function(copy.copy(loss)).get_concrete_function(*alone)
  try:
    independence.refuse_memory(traced.graph)
  except independence.StateError as error:
    name = loss.name or type(loss).__name__
    raise ValueError(f'loss {name} does not go with example-level privacy: {error}') from None


def _layers(model):
  return list(model._flatten_layers())
