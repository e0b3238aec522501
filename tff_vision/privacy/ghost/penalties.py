"""What Keras layers add to the loss beside the labels' part, and what that means under private SGD.

Regularisers of weights are functions of weights alone, which are private already: their gradient is added after the
noise, unclipped. Regularisers of a layer's outputs are part of an example's own loss and clipped with it, in a pass
that no other example shares. Whatever else a layer adds is refused.
"""

from collections.abc import Sequence

import tensorflow as tf

from tff_vision.privacy.ghost import independence


# The name scope in which Keras regularises outputs.
_ACTIVITY = 'ActivityRegularizer'


def of_weights(model: tf.keras.Model) -> Sequence[tf.Tensor]:
  """Returns the penalties on weights as they are now, scalars."""
  return [tf.convert_to_tensor(penalty()) for layer in _layers(model) for penalty in layer._callable_losses]


def gradients(model: tf.keras.Model) -> Sequence[tf.Tensor] | None:
  """Returns the gradient of the penalties on weights, by trainable weight; None if there are no penalties."""
  if not any(layer._callable_losses for layer in _layers(model)):
    return None
  with tf.GradientTape() as tape:
    total = tf.add_n(of_weights(model))
  return [tf.convert_to_tensor(part) for part in tape.gradient(
      total, model.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)]


def of_outputs(model: tf.keras.Model) -> Sequence[tf.Tensor]:
  """Returns what layers added to the loss in the model's last call, scalars."""
  return [tf.convert_to_tensor(loss) for layer in _layers(model) for loss in layer._eager_losses or layer._losses]


def regularises_outputs(model: tf.keras.Model) -> tf.keras.layers.Layer | None:
  """Returns a layer with a regulariser of its outputs, if there is one."""
  return next((layer for layer in _layers(model) if layer._activity_regularizer is not None), None)


def check(model: tf.keras.Model, input_spec: tf.TensorSpec) -> None:
  """Raises ValueError, with the layer's name, for what is neither kind of penalty, and for state kept of examples."""
  for layer in _layers(model):
    if layer._metrics:
      raise ValueError(f'layer {layer.name} measures its inputs (add_metric), and nothing un-noised may be measured under '
                       'example-level privacy: take the metric out.')
  added = {}

  def forward(inputs):
    outputs = model(inputs, training=True)
    for layer in _layers(model):
      own = [loss for loss in layer._eager_losses or layer._losses if _ACTIVITY not in loss.name]
      added[layer.name] = len(own)
    return outputs

  spec = tf.TensorSpec((None, *input_spec.shape[1:]), input_spec.dtype)
  traced = tf.function(forward, autograph=False).get_concrete_function(spec)
  for name, number in added.items():
    if number:
      raise ValueError(f'layer {name} adds a loss of its own (add_loss): it may compare the examples of a batch, and no '
                       'clip bounds it; use an activity_regularizer, or a function of weights alone.')
  try:
    independence.of_inputs(traced.graph, traced.inputs[0], traced.outputs)
  except independence.StateError as error:
    raise ValueError(f'model {model.name} does not go with example-level privacy: {error}') from None
  try:
    tf.function(lambda: of_weights(model), autograph=False).get_concrete_function()
  except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
    raise ValueError(f'model {model.name} adds a loss (add_loss) that is no function of weights alone: '
                     f'{str(error).splitlines()[0]}') from None


def _layers(model):
  return list(model._flatten_layers())
