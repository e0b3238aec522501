"""Moves boxes with their images: mirror, crop and any move inside a client's graph, rotation on the driver.

Boxes are [n, boxes, 5] as in `labels`: edges as shares of height and width, and the class.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tff_vision import labels
from tff_vision.data import transforms

# Of a box that keeps less of its area than this, what is left may be unrecognisable: neither wanted nor wrong.
_LEAST_KEPT = 0.25


def mirrored(y: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
  """Returns the boxes of images of which some are mirrored left to right; `chosen` is bool [n, 1]."""
  top, left, bottom, right, kind = tf.unstack(y, axis=-1)
  turned = chosen & tf.not_equal(kind, labels.NO_BOX)
  return tf.stack([top, tf.where(turned, 1 - right, left), bottom, tf.where(turned, 1 - left, right), kind], -1)


def cropped(y: tf.Tensor, top: int | tf.Tensor, left: int | tf.Tensor, crop: int, size: tuple[int, int]) -> tf.Tensor:
  """Returns the boxes of images that are cropped to a square; a box outside of it becomes none.

  Args:
    top, left: The first row and column that stay, in pixels; int32 [n, 1] if they differ.
    crop: Height and width of the crop.
    size: (height, width) of the images before.
  """
  y = tf.convert_to_tensor(y)
  corner = lambda first, second: (tf.cast(first, tf.float32), tf.cast(second, tf.float32))
  rows, columns = (tuple((y[..., edge] * size[axis] - start) / crop for edge in (axis, axis + 2))
                   for axis, start in enumerate(corner(top, left)))
  return _cut(tf.stack([rows[0], columns[0], rows[1], columns[1], y[..., 4]], -1))


def in_whole(edges: tf.Tensor | np.ndarray, seen: Sequence[float]) -> tf.Tensor | np.ndarray:
  """Returns boxes of a part of images as boxes of the whole images.

  Args:
    edges: [..., 4], top, left, bottom and right as shares of height and width of the part.
    seen: The same of the part, as shares of the whole.
  """
  top, left, bottom, right = seen
  return edges * np.float32([bottom - top, right - left] * 2) + np.float32([top, left] * 2)


def moved(y: tf.Tensor, move: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
  """Returns the boxes of images that `transforms.warped` moves: the extents of their moved corners, cut at the edges.

  Args:
    move: float32 [n, 2, 3], as in `transforms`.
    size: (height, width) of the images.
  """
  scale = tf.constant([*size, *size], tf.float32)
  edges = transforms.moved_boxes(y[..., :4] * scale, move) / scale
  return _cut(tf.concat([edges, y[..., 4:]], -1))


def rotated(y: np.ndarray, degrees: float, size: tuple[int, int]) -> np.ndarray:
  """Returns the boxes of images that `scipy.ndimage.rotate` turns by `degrees`: the extents of their turned corners.

  Args:
    size: (height, width) of the images.
  """
  cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
  height, width = size
  rows, columns = (y[..., [0, 0, 2, 2]] - 0.5) * height, (y[..., [1, 3, 1, 3]] - 0.5) * width
  down = (cosine * rows - sine * columns) / height + 0.5
  right = (sine * rows + cosine * columns) / width + 0.5
  edges = np.stack([down.min(-1), right.min(-1), down.max(-1), right.max(-1)], -1).clip(0, 1)
  kept = (edges[..., 2] - edges[..., 0]) * (edges[..., 3] - edges[..., 1])
  made = np.concatenate([edges, y[..., 4:]], -1).astype(np.float32)
  made[(kept <= 0) | (y[..., 4] == labels.NO_BOX)] = (0, 0, 0, 0, labels.NO_BOX)
  return made


def _cut(y):
  """Returns the boxes cut at the edges of the image; one outside of it becomes none."""
  edges, kind = y[..., :4], y[..., 4]
  inside = tf.clip_by_value(edges, 0.0, 1.0)
  before, kept = ((part[..., 2] - part[..., 0]) * (part[..., 3] - part[..., 1]) for part in (edges, inside))
  kind = tf.where((kept < _LEAST_KEPT * before) & (kind >= 0), -2 - kind, kind)
  return _without(tf.concat([inside, kind[..., tf.newaxis]], -1), kept <= 0)


def _without(y, gone):
  """Returns the boxes with rows that are `gone`, or were none, made none."""
  none = tf.constant([0.0, 0.0, 0.0, 0.0, labels.NO_BOX])
  return tf.where((gone | tf.equal(y[..., 4], labels.NO_BOX))[..., None], none, y)
