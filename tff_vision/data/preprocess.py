"""Stored pixels to model input: one description for training, evaluation and the exported model.

Training, evaluation and the exported Keras model run the very same functions, on tensors and on symbols. Everything
is built-in TensorFlow kernels, so that it can run inside a client's computation too.
"""

import functools

import numpy as np
import tensorflow as tf

from tff_vision.data import images


def input_shape(preprocessing: images.Preprocessing, stored_shape: tuple[int, int, int]) -> tuple[int, int, int]:
  """Returns (height, width, channels) of the model's input for images stored as `stored_shape`.

  Raises:
    ValueError: The crop is larger than the image, or the number of channels cannot be had.
  """
  height, width, channels = stored_shape
  if preprocessing.channels not in (None, channels) and {channels, preprocessing.channels} != {1, 3}:
    raise ValueError(f'images of {channels} channels cannot be turned into image_channels={preprocessing.channels}.')
  if preprocessing.size is not None:
    height = width = preprocessing.size
  if preprocessing.crop is not None:
    if preprocessing.crop > min(height, width):
      raise ValueError(f'crop={preprocessing.crop} is larger than the images, {height}x{width}.')
    height = width = preprocessing.crop
  return height, width, preprocessing.channels or channels


def evaluation_fn(preprocessing: images.Preprocessing, x: tf.Tensor) -> tf.Tensor:
  """Returns stored images [n, height, width, channels] as model input, float32, cropped at the centre."""
  if x.dtype == tf.uint8:
    x = tf.cast(x, tf.float32) * preprocessing.scale
  x = _resized(preprocessing, x)
  if preprocessing.crop is not None:
    # Where the margin is odd the smaller half comes first, as in tf.image.resize_with_crop_or_pad.
    top, left = ((side - preprocessing.crop) // 2 for side in x.shape[1:3])
    x = x[:, top:top + preprocessing.crop, left:left + preprocessing.crop, :]
  return _normalized(preprocessing, x)


def training_batches(x: np.ndarray | tf.Tensor, y: np.ndarray | tf.Tensor, preprocessing: images.Preprocessing, *,
                     epochs: int, batch_size: int, seed: int | tf.Tensor) -> tf.data.Dataset:
  """Returns batches of (model input, labels) for local training, a pure function of the arguments.

  Examples are shuffled anew in each epoch; batches run across epochs. With a crop or flip every image of every epoch
  has its own crop and its own coin. All of it is computed before the data set is made, by functions traced once: a
  map inside the data set would be traced anew for each client, which costs more than the rest together. The same
  numbers come out on the driver, from arrays, and inside a client's computation, from tensors.

  Args:
    x: Stored images.
    y: Their labels.
    seed: In [0, 2**63); scalar int64 if a tensor.
  """
  if preprocessing.crop is None and not preprocessing.flip:
    dataset = tf.data.Dataset.from_tensor_slices((_evaluate(preprocessing, tuple(x.shape[1:]))(x), y))
    dataset = dataset.shuffle(tf.maximum(tf.shape(y, tf.int64)[0], 1), seed=seed).repeat(epochs)
  else:
    dataset = tf.data.Dataset.from_tensor_slices(_augment(preprocessing, tuple(x.shape[1:]), epochs)(
        x, y, tf.convert_to_tensor(seed, tf.int64)))
  return dataset.batch(batch_size)


def with_preprocessing(model: tf.keras.Model, preprocessing: images.Preprocessing, stored: images.Examples
                       ) -> tf.keras.Model:
  """Returns a model of stored pixels, float32 [batch, height, width, channels], that calls `model`.

  It consists of Keras layers and TensorFlow operations only and is loaded from a .keras file without custom
  objects.
  """
  pixels = tf.keras.layers.Input(stored.x.shape[1:], name='pixels')
  x = pixels
  if stored.x.dtype == 'uint8':
    x = tf.keras.layers.Rescaling(preprocessing.scale)(x)
  return tf.keras.Model(pixels, model(evaluation_fn(preprocessing, x)), name='with_preprocessing')


def _resized(preprocessing, x):
  if preprocessing.channels not in (None, x.shape[-1]):
    to = tf.image.rgb_to_grayscale if preprocessing.channels == 1 else tf.image.grayscale_to_rgb
    x = to(x)
  if preprocessing.size not in (None, x.shape[1]) or preprocessing.size not in (None, x.shape[2]):
    x = tf.image.resize(x, [preprocessing.size, preprocessing.size], antialias=True)
  return x


def _normalized(preprocessing, x):
  if preprocessing.pixels == 'invert':
    return 1.0 - x
  if preprocessing.pixels == 'standardize':
    return (x - list(preprocessing.mean)) / list(preprocessing.std)
  if preprocessing.pixels == 'per_image':
    return tf.image.per_image_standardization(x)
  return x


@functools.lru_cache(maxsize=8)
def _evaluate(preprocessing, stored_shape):
  """Returns `evaluation_fn`, traced once for all clients."""
  del stored_shape  # Another shape is another trace.
  return tf.function(functools.partial(evaluation_fn, preprocessing), reduce_retracing=True)


@functools.lru_cache(maxsize=8)
def _augment(preprocessing, stored_shape, epochs):
  """Returns the map from (stored images, labels, seed) to the epochs' shuffled and augmented examples."""
  del stored_shape

  def augmented(x, y, seed):
    order = tf.concat([tf.random.experimental.stateless_shuffle(tf.range(tf.shape(y)[0]), tf.stack([seed, epoch]))
                       for epoch in range(epochs)], axis=0)
    x, y = tf.gather(x, order), tf.gather(y, order)
    if x.dtype == tf.uint8:
      x = tf.cast(x, tf.float32) * preprocessing.scale
    x = _resized(preprocessing, x)
    draw = lambda shape, purpose, **kinds: tf.random.stateless_uniform(
        [tf.shape(x)[0], *shape], tf.stack([seed, epochs + purpose]), **kinds)
    if preprocessing.crop is not None:
      for axis in (1, 2):
        start = draw([1], axis, dtype=tf.int32, maxval=x.shape[axis] - preprocessing.crop + 1)
        x = tf.gather(x, start + tf.range(preprocessing.crop)[tf.newaxis], axis=axis, batch_dims=1)
    if preprocessing.flip:
      x = tf.where(draw([1, 1, 1], 0) < 0.5, tf.reverse(x, [2]), x)
    return _normalized(preprocessing, x), y

  return tf.function(augmented, reduce_retracing=True)
