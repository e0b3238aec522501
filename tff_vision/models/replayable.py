"""Replayable dropout and noise: a resumed run equals one that was never interrupted.

TensorFlow's random layers draw from generator state that is kept in the executor and cannot be checkpointed. Here the
seed of a draw is a hash of the layer's input, which is a function of the client's batch and the current weights. So the
seed changes with every step and client, and repeats when a round is repeated.
"""

from collections.abc import Callable

import tensorflow as tf

from tff_vision.models import local_norm


def _seed(inputs):
  return tf.bitcast(tf.stack([tf.reduce_sum(inputs), tf.reduce_max(inputs)]), tf.int32)


def _is_training(training):
  return tf.keras.backend.learning_phase() if training is None else training


class ReplayableDropout(tf.keras.layers.Dropout):
  """Dropout seeded by its input."""

  def call(self, inputs, training=None):
    if not _is_training(training) or self.rate == 0:
      return inputs
    keep = tf.random.stateless_uniform(self._drawn(tf.shape(inputs)), _seed(inputs)) >= self.rate
    return tf.where(keep, inputs / (1 - self.rate), 0.0)

  def _drawn(self, shape):
    """Returns the shape of the mask."""
    if self.noise_shape is None:
      return shape
    return tf.stack([shape[axis] if size is None else size for axis, size in enumerate(self.noise_shape)])


class ReplayableSpatialDropout2D(ReplayableDropout):
  """Dropout of whole channels, seeded by its input."""

  def __init__(self, rate, data_format=None, **kwargs):
    super().__init__(rate, **kwargs)
    self.data_format = data_format or tf.keras.backend.image_data_format()

  def _drawn(self, shape):
    last = self.data_format == 'channels_last'
    return tf.stack([shape[0], 1, 1, shape[3]] if last else [shape[0], shape[1], 1, 1])


class ReplayableGaussianNoise(tf.keras.layers.GaussianNoise):
  """Additive noise seeded by its input."""

  def call(self, inputs, training=None):
    if not _is_training(training) or self.stddev == 0:
      return inputs
    return inputs + self.stddev * tf.random.stateless_normal(tf.shape(inputs), _seed(inputs))


class ReplayableGaussianDropout(tf.keras.layers.GaussianDropout):
  """Multiplicative noise seeded by its input."""

  def call(self, inputs, training=None):
    if not _is_training(training) or not 0 < self.rate < 1:
      return inputs
    deviation = (self.rate / (1 - self.rate)) ** 0.5
    return inputs * (1 + deviation * tf.random.stateless_normal(tf.shape(inputs), _seed(inputs)))


_REPLAYABLE = {
    tf.keras.layers.Dropout: ReplayableDropout, tf.keras.layers.GaussianNoise: ReplayableGaussianNoise,
    tf.keras.layers.GaussianDropout: ReplayableGaussianDropout,
    tf.keras.layers.SpatialDropout2D: ReplayableSpatialDropout2D}


def unseeded(model: tf.keras.Model) -> list[str]:
  """Returns the names of layers that draw at random and have no replayable counterpart."""
  return [layer.name for layer in model.submodules if isinstance(layer, tf.keras.layers.Layer)
          and type(layer) not in _REPLAYABLE and hasattr(layer, '_random_generator')]


def with_replayable_dropout(model_fn: Callable[[], tf.keras.Model]) -> tf.keras.Model:
  """Returns the model that `model_fn` builds for a client's graph.

  If it has random layers, or batch normalisations that train, it is a copy in which they are those of this package.
  """
  with tf.Graph().as_default():  # Variables of the original must not end up in a client's graph.
    original = model_fn()
  if not any(_replacement(layer) for layer in original.submodules):
    return model_fn()
  return tf.keras.models.clone_model(original, clone_function=_replayable)


def _replayable(layer):
  if isinstance(layer, tf.keras.Model):
    return tf.keras.models.clone_model(layer, clone_function=_replayable)
  return (_replacement(layer) or type(layer)).from_config(layer.get_config())


def _replacement(layer):
  """Returns the class that takes the place of a layer's; None: the layer stays."""
  if isinstance(layer, local_norm.BATCH_NORMALIZATION) and layer.trainable and not local_norm.why_not_local(layer):
    return local_norm.LocalBatchNormalization
  return _REPLAYABLE.get(type(layer))
