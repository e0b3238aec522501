"""Stored pixels to model input, the same for training and evaluation."""

from collections.abc import Callable

import tensorflow as tf

from tff_vision.data import images


def input_shape(preprocessing: images.Preprocessing, stored_shape: tuple[int, int, int]) -> tuple[int, int, int]:
  """Returns (height, width, channels) of the model's input for images stored as `stored_shape`."""
  del preprocessing
  return tuple(stored_shape)


def evaluation_fn(preprocessing: images.Preprocessing, x: tf.Tensor) -> tf.Tensor:
  """Returns stored images [n, ...] as model input, float32."""
  return tf.cast(x, tf.float32) * preprocessing.scale if x.dtype == tf.uint8 else x


def training_map(preprocessing: images.Preprocessing, *, seed: int
                 ) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
  """Returns the map from stored to input batches of (images, labels), for `tf.data`."""
  del seed
  return lambda x, y: (evaluation_fn(preprocessing, x), y)


def with_preprocessing(model: tf.keras.Model, preprocessing: images.Preprocessing, stored: images.Examples
                       ) -> tf.keras.Model:
  """Returns a model of stored pixels, float32 [batch, height, width, channels], that calls `model`."""
  layers = [tf.keras.layers.Rescaling(preprocessing.scale)] if stored.x.dtype == 'uint8' else []
  return tf.keras.Sequential([tf.keras.layers.Input(stored.x.shape[1:]), *layers, model], name='with_preprocessing')
