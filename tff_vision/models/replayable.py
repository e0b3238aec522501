"""Dropout whose masks can be replayed: a resumed run must equal one that was never interrupted.

TensorFlow's dropout draws from generator state that lives in the executor and cannot be checkpointed. Here
the mask's seed is a hash of the layer's input: a function of the client's batch and the current weights, so it
changes with every step and client, and repeats when a round is repeated.
"""

from collections.abc import Callable

import tensorflow as tf


class ReplayableDropout(tf.keras.layers.Dropout):
  """Dropout seeded by its input."""

  def call(self, inputs, training=None):
    if training is None:
      training = tf.keras.backend.learning_phase()
    if not training or self.rate == 0:
      return inputs
    seed = tf.bitcast(tf.stack([tf.reduce_sum(inputs), tf.reduce_max(inputs)]), tf.int32)
    keep = tf.random.stateless_uniform(tf.shape(inputs), seed) >= self.rate
    return tf.where(keep, inputs / (1 - self.rate), 0.0)


def with_replayable_dropout(model_fn: Callable[[], tf.keras.Model]) -> tf.keras.Model:
  """Returns what `model_fn` builds, or, if that has Dropout layers, a copy in which they are replayable."""
  with tf.Graph().as_default():  # Variables of the original must not end up in a client's graph.
    original = model_fn()
  if not any(type(layer) is tf.keras.layers.Dropout and layer.rate for layer in original.submodules):
    return model_fn()
  return tf.keras.models.clone_model(original, clone_function=_replayable)


def _replayable(layer):
  if isinstance(layer, tf.keras.Model):
    return tf.keras.models.clone_model(layer, clone_function=_replayable)
  made = ReplayableDropout if type(layer) is tf.keras.layers.Dropout else type(layer)
  return made.from_config(layer.get_config())
