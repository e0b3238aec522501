"""Boxes as the points at their centres: heat maps as targets, the loss of one example, and boxes from maps.

Zhou, Wang and Krähenbühl, "Objects as Points", 2019, arXiv:1904.07850; the spread of a heat map's peaks follows Law and
Deng, "CornerNet", ECCV 2018, section 3.2. All functions use built-in TensorFlow kernels, so they run on clients too.

A label is float32 [boxes, 5]: top, left, bottom and right as shares of the image's height and width, and the class. A
row of class -1 is padding. A row of class -2 - c is a region in which class c is neither wanted nor wrong.

A map is [rows, columns, classes + 4], with any number of rows and columns. For each cell it holds the logit of a centre
of each class, then the box's height and width in cells, then how far the centre lies below and right of the cell's
upper left corner, in cells.
"""

import tensorflow as tf

PADDING = -1
BEYOND_CLASSES = 4
MOST_BOXES = 100  # The number of detections of an image that COCO evaluates.
# At this overlap with the true box, a box with a shifted centre is still nearly right (CornerNet).
_OVERLAP = 0.7
_SIZE_WEIGHT = 0.1


@tf.keras.utils.register_keras_serializable('tff_vision')
class CentreLoss(tf.keras.losses.Loss):
  """Focal loss of the heat map, and L1 losses of size (times 0.1) and offset, for each example.

  The sums over an example's cells and boxes are divided by its own number of boxes, or by 1 if it has none. So its loss
  depends on no other example of the batch. (The paper divides by the number of boxes of a batch.)
  """

  def call(self, y_true, y_pred):
    """Returns the losses, [batch]. Args: labels [batch, boxes, 5], and maps [batch, rows, columns, classes + 4]."""
    size = tf.shape(y_pred)[1:3]
    boxes = _in_cells(y_true, size)
    wanted = tf.cast(y_true[..., 4] >= 0, tf.float32)
    heat, ignored = heat_maps(y_true, size, y_pred.shape[-1] - BEYOND_CLASSES)
    found = tf.gather_nd(y_pred[..., -BEYOND_CLASSES:], tf.cast(boxes['cell'], tf.int32), batch_dims=1)
    wrong = tf.abs(found - tf.concat([boxes['extent'], boxes['offset']], -1))
    weighted = tf.reduce_sum(wrong * [_SIZE_WEIGHT, _SIZE_WEIGHT, 1.0, 1.0], -1)
    total = _focal(heat, ignored, y_pred[..., :-BEYOND_CLASSES]) + tf.reduce_sum(wanted * weighted, 1)
    return total / tf.maximum(tf.reduce_sum(wanted, 1), 1.0)


def heat_maps(y: tf.Tensor, size: tf.Tensor, classes: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the target of the heat map, and which cells of it are left out: both [batch, rows, columns, classes].

  The heat is 1 at the cell of a centre and falls off as a Gaussian; where two boxes of a class meet, the larger counts.

  Args:
    y: [batch, boxes, 5].
    size: [2] int32, rows and columns.
  """
  boxes = _in_cells(y, size)
  deviation = ((2 * _radius(boxes['extent']) + 1) / 6)[..., None]
  heats, insides = [], []
  for axis in range(2):
    places = tf.range(tf.cast(size[axis], tf.float32))
    away = places - boxes['cell'][..., axis:axis + 1]
    heats.append(tf.exp(-tf.square(away / deviation) / 2))
    first, end = boxes['edges'][..., axis:axis + 1], boxes['edges'][..., axis + 2:axis + 3]
    insides.append((places + 1 > first) & (places < end))
  heat, inside = heats[0][..., None] * heats[1][..., None, :], insides[0][..., None] & insides[1][..., None, :]
  number = tf.cast(tf.round(y[..., 4]), tf.int32)[..., None, None]
  targets, ignored = [], []
  for kind in range(classes):
    targets.append(tf.reduce_max(tf.where(tf.equal(number, kind), heat, tf.zeros_like(heat)), 1))
    ignored.append(tf.reduce_any(tf.equal(number, -2 - kind) & inside, 1))
  return tf.stack(targets, -1), tf.stack(ignored, -1)


def decode(maps: tf.Tensor, most: int = MOST_BOXES) -> dict[str, tf.Tensor]:
  """Returns the boxes of maps: the largest peaks of the heat, of 3x3 cells each, with the boxes that they stand for.

  Args:
    maps: [batch, rows, columns, classes + 4].
    most: How many boxes an image has; fewer if the map has fewer cells times classes.

  Returns:
    `boxes` [batch, most, 4] in shares of height and width within 0..1, `scores` [batch, most] in 0..1, falling, and
    `classes` [batch, most] int32.
  """
  rows, columns, channels = maps.shape[1:]
  classes = channels - BEYOND_CLASSES
  heat = tf.sigmoid(maps[..., :classes])
  is_peak = tf.equal(heat, tf.nn.max_pool2d(heat, 3, 1, 'SAME'))
  heat = tf.reshape(tf.where(is_peak, heat, tf.zeros_like(heat)), [-1, rows * columns * classes])
  scores, places = tf.math.top_k(heat, min(most, rows * columns * classes))
  cells = places // classes
  rest = tf.gather(tf.reshape(maps[..., classes:], [-1, rows * columns, BEYOND_CLASSES]), cells, batch_dims=1)
  centre = tf.cast(tf.stack([cells // columns, cells % columns], -1), tf.float32) + rest[..., 2:]
  half = tf.maximum(rest[..., :2], 0.0) / 2
  boxes = tf.concat([centre - half, centre + half], -1) / [rows, columns, rows, columns]
  return {'boxes': tf.clip_by_value(boxes, 0.0, 1.0), 'scores': scores, 'classes': places % classes}


def _in_cells(y, size):
  """Returns edges [batch, boxes, 4], extent, cell and offset [batch, boxes, 2] of boxes, all in cells."""
  size = tf.cast(size, tf.float32)
  edges = y[..., :4] * tf.concat([size, size], 0)
  centre = (edges[..., :2] + edges[..., 2:]) / 2
  cell = tf.clip_by_value(tf.floor(centre), 0.0, size - 1)
  return {'edges': edges, 'extent': edges[..., 2:] - edges[..., :2], 'cell': cell, 'offset': centre - cell}


def _radius(extent):
  """Returns how many cells both corners of a box may move, so that the overlap with it stays above `_OVERLAP`.

  The least of three cases: both corners move in one direction, both inwards, both outwards.
  """
  around, area = tf.reduce_sum(extent, -1), tf.reduce_prod(extent, -1)
  root = lambda value: tf.sqrt(tf.maximum(value, 0.0))
  shifted = (around - root(tf.square(around) - 4 * area * (1 - _OVERLAP) / (1 + _OVERLAP))) / 2
  inwards = (around - root(tf.square(around) - 4 * area * (1 - _OVERLAP))) / 4
  outwards = (root(tf.square(around) + 4 * area * (1 - _OVERLAP) / _OVERLAP) - around) / 4
  return tf.minimum(shifted, tf.minimum(inwards, outwards))


def _focal(heat, ignored, logits):
  """Returns the focal loss of the heat map, [batch], with the paper's exponents 2 and 4; stable for large logits."""
  chance = tf.sigmoid(logits)
  hit = tf.square(1 - chance) * tf.math.log_sigmoid(logits)
  miss = (1 - heat) ** 4 * tf.square(chance) * tf.math.log_sigmoid(-logits)
  terms = tf.where(heat >= 1, hit, tf.where(ignored, tf.zeros_like(miss), miss))
  return -tf.reduce_sum(terms, [1, 2, 3])
