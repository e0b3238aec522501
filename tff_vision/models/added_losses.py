"""Losses that Keras layers add: functions of the weights, and terms added in a call.

`model.losses` contains both. But if a model was made in a TensorFlow 1 style graph, as in TFF's computations, it also
contains the terms added when the model was made, whose inputs are never fed, and the terms added by all earlier calls.
"""

from collections.abc import Sequence

import tensorflow as tf


def call(model: tf.keras.Model, inputs: tf.Tensor, *, training: bool) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
  """Returns the outputs and the loss terms that this call added: scalars; those of Keras are means over the batch."""
  layers = list(model._flatten_layers())
  before = [len(layer._losses) for layer in layers]
  outputs = model(inputs, training=training)
  return outputs, [tf.convert_to_tensor(loss) for layer, known in zip(layers, before, strict=True)
                   for loss in [*layer._eager_losses, *layer._losses[known:]]]


def of_weights(model: tf.keras.Model) -> Sequence[tf.Tensor]:
  """Returns the penalties on the current weights, scalars."""
  return [tf.convert_to_tensor(penalty()) for layer in model._flatten_layers() for penalty in layer._callable_losses]
