"""Losses that Keras layers add: functions of the weights, and terms added in a call.

`model.losses` has both, but where a model was made in a graph of TensorFlow 1's style, as in TFF's computations, it
also has what was added when the model was made, of inputs that nobody feeds, and what all calls before added.
"""

from collections.abc import Sequence

import tensorflow as tf


def call(model: tf.keras.Model, inputs: tf.Tensor, *, training: bool) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
  """Returns the outputs and what this call added to the loss: scalars, means over the batch if Keras's own."""
  layers = list(model._flatten_layers())
  before = [len(layer._losses) for layer in layers]
  outputs = model(inputs, training=training)
  return outputs, [tf.convert_to_tensor(loss) for layer, known in zip(layers, before, strict=True)
                   for loss in [*layer._eager_losses, *layer._losses[known:]]]


def of_weights(model: tf.keras.Model) -> Sequence[tf.Tensor]:
  """Returns the penalties on weights as they are now, scalars."""
  return [tf.convert_to_tensor(penalty()) for layer in model._flatten_layers() for penalty in layer._callable_losses]
