"""Batch normalisation whose moving statistics change in a client's graph.

Keras's own layer leaves the changes of its statistics to Keras's training loop if the model was made in a graph of the
style of TensorFlow 1, as in TFF's computations, so that they would never change there.
"""

import tensorflow as tf

# The base of Keras's batch normalisations, also of those of several devices and of TensorFlow 1.
BATCH_NORMALIZATION = tf.keras.layers.BatchNormalization.__base__


def why_not_local(layer: tf.keras.layers.Layer) -> str:
  """Returns why no `LocalBatchNormalization` can take the place of a batch normalisation; '' if one can."""
  if type(layer) is not tf.keras.layers.BatchNormalization:
    return f'it is a {type(layer).__name__}'
  if layer.renorm or layer.virtual_batch_size:
    return 'it has renorm or virtual_batch_size'
  return ''


class LocalBatchNormalization(tf.keras.layers.BatchNormalization):
  """The same function and the same moving statistics as of Keras's layer; each call in training moves them at once."""

  def call(self, inputs, training=None):
    if training is not True or not self.trainable:
      return super().call(inputs, training=False)
    last = inputs.shape.rank - 1
    axes = [axis % (last + 1) for axis in self.axis]
    if self.fused and axes == [last]:
      outputs, mean, variance = self._fused_in_training(inputs)
    else:
      reduced = [axis for axis in range(last + 1) if axis not in axes]
      mean, variance = tf.nn.moments(inputs, reduced)
      count = tf.cast(tf.size(inputs) / tf.size(mean), tf.float32)
      shape = [inputs.shape[axis] if axis in axes else 1 for axis in range(last + 1)]
      broadcast = lambda value: None if value is None else tf.reshape(value, shape)
      outputs = tf.nn.batch_normalization(inputs, broadcast(mean), broadcast(variance), broadcast(self.beta),
                                          broadcast(self.gamma), self.epsilon)
      if self.fused:  # Keras's fused kernel, which it uses on maps, gives an unbiased estimate.
        variance *= count / tf.maximum(count - 1, 1)
    for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
      value = tf.stop_gradient(tf.reshape(value, moving.shape))
      moving.assign(moving * self.momentum + value * (1 - self.momentum))
    return outputs

  def _fused_in_training(self, inputs):
    """Returns the outputs, the mean and the variance as an unbiased estimate, which is Keras's for maps."""
    channels = inputs.shape[-1:]
    scale = tf.ones(channels) if self.gamma is None else self.gamma
    offset = tf.zeros(channels) if self.beta is None else self.beta
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs, scale, offset, epsilon=self.epsilon, is_training=True)
    return outputs, mean, variance
