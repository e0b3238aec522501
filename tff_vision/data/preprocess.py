"""Preprocessing from stored pixels to model input, shared by training, evaluation and the exported model.

Training, evaluation and the exported Keras model run the same functions, on tensors and on symbolic inputs. They use
only built-in TensorFlow kernels, so they can also run inside a client's computation.
"""

import dataclasses
import itertools
from collections.abc import Mapping

import tensorflow as tf

from tff_vision import labels as labels_lib
from tff_vision.data import boxes, images, transforms

# Crops and mirrors are drawn for the purposes 1 to 3.
_FIRST_AUGMENTATION = 11


def input_shape(preprocessing: images.Preprocessing, stored_shape: tuple[int, int, int]) -> tuple[int, int, int]:
  """Returns (height, width, channels) of the model's input for images stored as `stored_shape`.

  Raises:
    ValueError: The crop is larger than the image, or the number of channels is not possible.
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
  # Not under `do_not_convert`: Keras would then write its layers of operations, such as resizing, without arguments.
  x = _resized(preprocessing, _scaled(preprocessing, x))
  if preprocessing.crop is not None:
    # If the margin is odd, the smaller half comes first, as in tf.image.resize_with_crop_or_pad.
    top, left = ((side - preprocessing.crop) // 2 for side in x.shape[1:3])
    x = x[:, top:top + preprocessing.crop, left:left + preprocessing.crop, :]
  return _normalized(preprocessing, x)


def draw(preprocessing: images.Preprocessing, stored_shape: tuple[int, int, int], count: int | tf.Tensor,
         seed: tf.Tensor) -> Mapping[str, tf.Tensor]:
  """Returns the random choices for `count` training images, one row each: where to crop, whether to mirror, and the
  draws of the augmentation.

  Args:
    seed: Scalar int64; the draw is a function of it.
  """
  uniform = lambda shape, purpose, **kinds: tf.random.stateless_uniform(
      [count, *shape], tf.stack([seed, purpose]), **kinds)
  drawn = {}
  if preprocessing.crop is not None:
    uncropped = _uncropped(preprocessing, stored_shape)
    for purpose, (name, side) in enumerate(zip(('top', 'left'), uncropped, strict=True), start=1):
      drawn[name] = uniform([1], purpose, dtype=tf.int32, maxval=side - preprocessing.crop + 1)
  if preprocessing.flip:
    drawn['mirrored'] = uniform([1, 1, 1], 3) < 0.5
  if preprocessing.augmentation.changes:
    purposes = itertools.count(_FIRST_AUGMENTATION)
    before, after = _uncropped(preprocessing, stored_shape), input_shape(preprocessing, stored_shape)[:2]
    drawn |= transforms.draw(
        preprocessing.augmentation, before, after,
        lambda shape, low, high: uniform(shape, next(purposes), minval=low, maxval=high))
  return drawn


def training_fn(preprocessing: images.Preprocessing, x: tf.Tensor, drawn: Mapping[str, tf.Tensor]) -> tf.Tensor:
  """Returns stored images [n, height, width, channels] as model input, float32, varied as drawn."""
  if not drawn:
    return evaluation_fn(preprocessing, x)
  x = moved(preprocessing, _resized(preprocessing, _scaled(preprocessing, x)), drawn)
  return _normalized(preprocessing, transforms.shaded(preprocessing.augmentation, x, drawn))


def seen(preprocessing: images.Preprocessing, stored_shape: tuple[int, int, int]) -> tuple[float, float, float, float]:
  """Returns what `evaluation_fn` leaves of an image: top, left, bottom and right as shares of height and width."""
  size, crop = _uncropped(preprocessing, stored_shape), preprocessing.crop
  if crop is None:
    return 0.0, 0.0, 1.0, 1.0
  (height, width), (top, left) = size, ((side - crop) // 2 for side in size)
  return top / height, left / width, (top + crop) / height, (left + crop) / width


def evaluation_labels(preprocessing: images.Preprocessing, spec: images.ImageSpec, y: tf.Tensor) -> tf.Tensor:
  """Returns the labels for `evaluation_fn` of stored images, [n, ...]; masks and boxes move with their images."""
  if spec.labels is labels_lib.Kind.BOXES:
    if preprocessing.crop is None:
      return y
    size = _uncropped(preprocessing, spec.shape)
    top, left = ((side - preprocessing.crop) // 2 for side in size)
    return boxes.cropped(y, top, left, preprocessing.crop, size)
  if not spec.labels.is_spatial:
    return y
  y = _resized_mask(preprocessing, y)
  if preprocessing.crop is not None:
    top, left = ((side - preprocessing.crop) // 2 for side in y.shape[1:3])
    y = y[:, top:top + preprocessing.crop, left:left + preprocessing.crop]
  return y


def training_labels(preprocessing: images.Preprocessing, spec: images.ImageSpec, y: tf.Tensor,
                    drawn: Mapping[str, tf.Tensor]) -> tf.Tensor:
  """Returns the labels for `training_fn` of stored images, [n, ...]; masks and boxes move with their images."""
  if spec.labels is labels_lib.Kind.BOXES:
    if 'move' in drawn:
      y = boxes.moved(y, drawn['move'], _uncropped(preprocessing, spec.shape))
    if 'top' in drawn:
      y = boxes.cropped(y, drawn['top'], drawn['left'], preprocessing.crop, _uncropped(preprocessing, spec.shape))
    return boxes.mirrored(y, tf.reshape(drawn['mirrored'], [-1, 1])) if 'mirrored' in drawn else y
  if not spec.labels.is_spatial:
    return y
  if spec.labels is labels_lib.Kind.VOLUME:
    return moved(preprocessing, _resized_mask(preprocessing, y), drawn)
  return moved(preprocessing, _resized_mask(preprocessing, y)[..., tf.newaxis], drawn)[..., 0]


def moved(preprocessing: images.Preprocessing, x: tf.Tensor, drawn: Mapping[str, tf.Tensor]) -> tf.Tensor:
  """Returns images or masks, [n, height, width, channels], rotated, shifted, scaled, cropped and mirrored as drawn."""
  if 'move' in drawn:
    x = transforms.warped(x, drawn['move'])
  for axis, name in ((1, 'top'), (2, 'left')):
    if name in drawn:
      x = tf.gather(x, drawn[name] + tf.range(preprocessing.crop)[tf.newaxis], axis=axis, batch_dims=1)
  if 'mirrored' in drawn:
    x = tf.where(drawn['mirrored'], tf.reverse(x, [2]), x)
  return x


def with_preprocessing(model: tf.keras.Model, preprocessing: images.Preprocessing, spec: images.ImageSpec
                       ) -> tf.keras.Model:
  """Returns a model of stored pixels, float32 [batch, height, width, channels], that calls `model`.

  It consists only of Keras layers and TensorFlow operations. It can be loaded from a .keras file without custom
  objects.
  """
  pixels = tf.keras.layers.Input(spec.shape, name='pixels')
  x = pixels
  if spec.dtype == 'uint8':
    x = tf.keras.layers.Rescaling(preprocessing.scale)(x)
  return tf.keras.Model(pixels, model(evaluation_fn(preprocessing, x)), name='with_preprocessing')


def _scaled(preprocessing, x):
  return tf.cast(x, tf.float32) * preprocessing.scale if x.dtype == tf.uint8 else x


def _uncropped(preprocessing, stored_shape):
  """Returns (height, width) of images before they are cropped."""
  return input_shape(dataclasses.replace(preprocessing, crop=None), stored_shape)[:2]


def _resized(preprocessing, x):
  if preprocessing.channels not in (None, x.shape[-1]):
    to = tf.image.rgb_to_grayscale if preprocessing.channels == 1 else tf.image.grayscale_to_rgb
    x = to(x)
  if preprocessing.size not in (None, x.shape[1]) or preprocessing.size not in (None, x.shape[2]):
    x = tf.image.resize(x, [preprocessing.size, preprocessing.size], antialias=True)
  return x


def _resized_mask(preprocessing, y):
  """Masks take the value of the nearest pixel, because class numbers have no mean."""
  if preprocessing.size in (None, y.shape[1]) and preprocessing.size in (None, y.shape[2]):
    return y
  size = [preprocessing.size, preprocessing.size]
  if len(y.shape) == 4:  # Of volumes, whose slices are channels.
    return tf.image.resize(y, size, method='nearest')
  return tf.image.resize(y[..., tf.newaxis], size, method='nearest')[..., 0]


def _normalized(preprocessing, x):
  if preprocessing.pixels == 'invert':
    return 1.0 - x
  if preprocessing.pixels == 'standardize':
    return (x - list(preprocessing.mean)) / list(preprocessing.std)
  if preprocessing.pixels == 'per_image':
    return tf.image.per_image_standardization(x)
  return x
