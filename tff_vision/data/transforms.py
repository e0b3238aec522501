"""Moves, shades and erases images as drawn at random: augmentation in a client's graph, by built-in TensorFlow kernels.

A move is a value: a matrix from the places of pixels in the moved image to places in the original one. Masks and boxes
are moved by the same matrix. All draws for an image depend on that image's place alone, and never on other images.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tff_vision.data import augmentation as augmentation_lib

# (shape without the first axis, low, high) -> uniform draws, float32 [n, *shape]; each call draws others.
Uniform = Callable[[tuple[int, ...], float, float], tf.Tensor]
# Zhong et al., "Random Erasing Data Augmentation", AAAI 2020: areas from 2 %, and sides in ratios of 0.3 to 1 / 0.3.
_LEAST_ERASED, _LEAST_RATIO = 0.02, 0.3


def draw(augmentation: augmentation_lib.Augmentation, before: tuple[int, int], after: tuple[int, int], uniform: Uniform
         ) -> Mapping[str, tf.Tensor]:
  """Returns what is drawn for n images, one row each.

  Args:
    before: Height and width of the images that are moved.
    after: Height and width of the images that are erased, which may have been cropped.
    uniform: Draws random numbers; each kind of change has its own, whatever others are asked for.

  Returns:
    Those of: `move` float32 [n, 2, 3], `brightness` and `contrast` float32 [n, 1, 1, 1], `erased` int32 [n, 4]: top,
    left, bottom, right.
  """
  drawn = {}
  angle = uniform((), -augmentation.rotation, augmentation.rotation) * (np.pi / 180)
  factor = uniform((), 1 - augmentation.scale, 1 + augmentation.scale)
  shift = uniform((2,), -augmentation.translation, augmentation.translation)
  brightness = uniform((1, 1, 1), -augmentation.brightness, augmentation.brightness)
  contrast = uniform((1, 1, 1), 1 - augmentation.contrast, 1 + augmentation.contrast)
  erasing = uniform((5,), 0.0, 1.0)
  if augmentation.moves:
    drawn['move'] = moves(angle, factor, shift * tf.constant(before, tf.float32), before)
  if augmentation.brightness:
    drawn['brightness'] = brightness
  if augmentation.contrast:
    drawn['contrast'] = contrast
  if augmentation.erasing:
    drawn['erased'] = _rectangles(erasing, augmentation.erasing, after)
  return drawn


def moves(angle: tf.Tensor, factor: tf.Tensor, shift: tf.Tensor, shape: tuple[int, int]) -> tf.Tensor:
  """Returns moves: rotation about the centre, then scaling from the centre, then a shift.

  Args:
    angle: [n] in radians; what lies to the right of the centre moves down.
    factor: [n]; above 1 enlarges.
    shift: [n, 2] in pixels, down and to the right.
    shape: Height and width.

  Returns:
    float32 [n, 2, 3], from (column, row, 1) in the moved image to (column, row) in the original one.
  """
  cos, sin = tf.cos(angle) / factor, tf.sin(angle) / factor
  middle_row, middle_column = ((side - 1) / 2 for side in shape)
  rows = [[cos, sin], [-sin, cos]]
  column, row = middle_column + shift[:, 1], middle_row + shift[:, 0]
  ends = [middle_column - (cos * column + sin * row), middle_row - (-sin * column + cos * row)]
  return tf.stack([tf.stack([*own, end], axis=1) for own, end in zip(rows, ends, strict=True)], axis=1)


def inverse(move: tf.Tensor) -> tf.Tensor:
  """Returns [n, 2, 3] matrices from places in the original image to places in the moved one."""
  (a, b, c), (d, e, f) = (tf.unstack(row, axis=1) for row in tf.unstack(move, axis=1))
  size = a * e - b * d
  return tf.stack([tf.stack([e, -b, b * f - c * e], 1), tf.stack([-d, a, c * d - a * f], 1)], 1) / size[:, None, None]


def warped(x: tf.Tensor, move: tf.Tensor) -> tf.Tensor:
  """Returns moved images or masks, [n, height, width, channels].

  Floats are interpolated between four pixels; whole numbers, which may be class numbers, take the nearest pixel. Places
  outside of the original take its nearest edge, so that an image and its mask agree there too.
  """
  number = tf.shape(x)[0]
  flat = tf.concat([tf.reshape(move, [number, 6]), tf.zeros([number, 2])], axis=1)
  kind = 'BILINEAR' if x.dtype.is_floating else 'NEAREST'
  return tf.raw_ops.ImageProjectiveTransformV3(
      images=x, transforms=flat, output_shape=x.shape[1:3].as_list(), fill_value=0.0, interpolation=kind,
      fill_mode='NEAREST')


def moved_boxes(boxes: tf.Tensor, move: tf.Tensor) -> tf.Tensor:
  """Returns the smallest upright boxes around the moved boxes, which may reach out of the image.

  Args:
    boxes: float32 [n, k, 4]: top, left, bottom, right, as distances from the top left corner of the image, in pixels.
    move: [n, 2, 3].

  Returns:
    [n, k, 4].
  """
  to_moved = inverse(move)
  top, left, bottom, right = tf.unstack(boxes, axis=-1)
  # Pixel (0, 0) reaches from -0.5 to 0.5 in the coordinates of the matrix.
  corners = tf.stack([tf.stack([column - 0.5, row - 0.5, tf.ones_like(row)], -1)
                      for column, row in ((left, top), (right, top), (left, bottom), (right, bottom))], axis=2)
  places = tf.einsum('nij,nkcj->nkci', to_moved, corners) + 0.5
  low, high = tf.reduce_min(places, axis=2), tf.reduce_max(places, axis=2)
  return tf.stack([low[..., 1], low[..., 0], high[..., 1], high[..., 0]], axis=-1)


def shaded(augmentation: augmentation_lib.Augmentation, x: tf.Tensor, drawn: Mapping[str, tf.Tensor]) -> tf.Tensor:
  """Returns images float32 [n, height, width, channels] with contrast and brightness changed, and erased, as drawn."""
  if 'contrast' in drawn:
    mean = tf.reduce_mean(x, axis=(1, 2, 3), keepdims=True)
    x = mean + drawn['contrast'] * (x - mean)
  if augmentation.shades and augmentation.black is not None:
    span = augmentation.white - augmentation.black
    x = x + span * drawn['brightness'] if 'brightness' in drawn else x
    x = tf.clip_by_value(x, augmentation.black, augmentation.white)
  if 'erased' in drawn:
    top, left, bottom, right = (drawn['erased'][:, place, None] for place in range(4))
    rows, columns = (tf.range(side)[None] for side in x.shape[1:3])
    inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None]
    x = tf.where(inside[..., None], tf.reduce_mean(x, axis=(1, 2), keepdims=True), x)
  return x


def mixing_share(mixup: float, seed: tf.Tensor) -> tf.Tensor:
  """Returns the share of the first image in a batch, float32 [], from Beta(mixup, mixup).

  Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, arXiv:1710.09412.

  Args:
    seed: int64 [2].
  """
  first, second = tf.unstack(tf.random.stateless_gamma([2], seed, alpha=mixup, dtype=tf.float64))
  return tf.cast(tf.where(first + second > 0, first / (first + second), 0.5), tf.float32)


def _rectangles(drawn, largest, shape):
  height, width = map(float, shape)
  covered, size, ratio, row, column = tf.unstack(drawn, axis=1)
  least = min(_LEAST_ERASED, largest)
  area = (least + (largest - least) * size) * height * width
  stretch = tf.exp((2 * ratio - 1) * (-np.log(_LEAST_RATIO)) / 2)
  # A side cut at the image's edge makes the area smaller than drawn, never larger.
  tall = tf.minimum(tf.floor(tf.sqrt(area) * stretch), height)
  wide = tf.minimum(tf.floor(tf.sqrt(area) / stretch), width)
  there = tf.cast(covered < augmentation_lib.ERASED_SHARE, tf.float32)
  top, left = tf.floor(row * (height - tall + 1)), tf.floor(column * (width - wide + 1))
  return tf.cast(tf.stack([top, left, top + tall * there, left + wide * there], axis=1), tf.int32)
