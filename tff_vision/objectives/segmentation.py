"""Segmentation: one class for each pixel of an image, or for each voxel of a volume.

The loss is cross-entropy and soft Dice together (Isensee et al., "nnU-Net", Nature Methods 2021; soft Dice: Milletari
et al., "V-Net", 3DV 2016, arXiv:1606.04797). Both are computed within one image, so the loss of a batch is the mean of
separate terms, and one example's loss is the loss of all its pixels. Measures are the opposite: pixels of all images
are counted together before Dice and IoU are taken, because a single image need not show every class.

Pixels whose label is `labels.IGNORED` count nowhere.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tff_vision import labels as labels_lib
from tff_vision.objectives import base
from tff_vision.objectives import metric as metric_lib

LEADING = 'dice'
METRICS = (metric_lib.Metric(name=LEADING, title='Dice'), metric_lib.Metric(name='iou', title='IoU'),
           metric_lib.Metric(name='pixel_accuracy', percent=True, detail=True), metric_lib.LOSS)
# Added to both sides of the Dice of an image, in pixels, so that a class of few pixels has no steep loss.
_SMOOTH = 1.0


@tf.keras.utils.register_keras_serializable('tff_vision')
class CrossEntropyAndDice(tf.keras.losses.Loss):
  """Cross-entropy plus `dice_weight` times (1 - soft Dice), both weighted by class, of one image.

  The cross-entropy is a mean over counted pixels with the weights of their classes; Dice is a mean over the classes
  that the image's mask shows, with the same weights: if Dice counted absent classes too, rare classes would never be
  predicted. An image without a counted pixel has a loss of zero. Called with labels [batch, height, width] of whole
  numbers and logits [batch, height, width, classes], or with a further axis of slices before the classes; it uses only
  built-in kernels, so it runs on clients.
  """

  def __init__(self, class_weights: Sequence[float] = (), dice_weight: float = 1.0,
               name: str = 'cross_entropy_and_dice', reduction: str = tf.keras.losses.Reduction.AUTO):
    """Takes one weight for each class; no weights: 1 for each."""
    super().__init__(name=name, reduction=reduction)
    self.class_weights, self.dice_weight = tuple(class_weights), dice_weight

  def get_config(self):
    return {**super().get_config(), 'class_weights': self.class_weights, 'dice_weight': self.dice_weight}

  def call(self, y_true, y_pred):
    classes, y = y_pred.shape[-1], tf.cast(y_true, tf.int32)
    pixels = list(range(1, len(y_pred.shape) - 1))
    weights = tf.constant(self.class_weights or [1.0] * classes, tf.float32)
    target = tf.one_hot(y, classes)  # All zeros where a pixel is ignored.
    log_shares = tf.nn.log_softmax(y_pred)
    weighted = target * weights
    entropy = tf.math.divide_no_nan(-tf.reduce_sum(weighted * log_shares, [*pixels, -1]),
                                    tf.reduce_sum(weighted, [*pixels, -1]))
    shares = tf.exp(log_shares) * tf.reduce_sum(target, -1, keepdims=True)
    both, sizes = tf.reduce_sum(shares * target, pixels), tf.reduce_sum(shares + target, pixels)
    missed = 1 - (2 * both + _SMOOTH) / (sizes + _SMOOTH)
    shown = weights * tf.cast(tf.reduce_any(target > 0, pixels), tf.float32)
    return entropy + self.dice_weight * tf.math.divide_no_nan(
        tf.reduce_sum(shown * missed, 1), tf.reduce_sum(shown, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation:
  """Outputs are logits of the pixels, [batch, height, width, classes], or [batch, height, width, depth, classes].

  Attributes:
    num_outputs: Number of classes.
    volumes: Whether images are volumes, whose channels are slices.
    background: Whether class 0 is background, which the mean Dice and IoU leave out.
    class_weights: One weight for each class in the loss; none: all are equal.
    dice_weight: Weight of Dice in the loss, beside the cross-entropy.
  """
  num_outputs: int
  volumes: bool = False
  background: bool = True
  class_weights: tuple[float, ...] = ()
  dice_weight: float = 1.0
  metric: str = LEADING
  task: str = 'segmentation'

  @property
  def declared(self):
    return METRICS

  @property
  def head(self):
    return self.num_outputs

  def output_shape(self, input_shape):
    """Returns the shape of the model's output for one image."""
    return (*(input_shape if self.volumes else input_shape[:2]), self.num_outputs)

  @property
  def loss_fn(self):
    return CrossEntropyAndDice(self.class_weights, self.dice_weight)

  @property
  def separable(self):
    return True

  def keras_model(self, builder, input_shape):
    return builder(input_shape, self.num_outputs)

  def right(self, outputs, y):
    """Each example counts as the share of its counted pixels that are right."""
    return tf.reduce_sum(tf.cast(_right_shares(y, outputs), tf.float64))

  def metrics(self):
    return [tf.keras.metrics.MeanMetricWrapper(_right_shares, name='accuracy')]

  def counted(self, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns what `measure` needs of each image, so that a test set's outputs need not be held at once.

    Args:
      outputs: Logits as in the class's text.
      y: [n, height, width] or [n, height, width, depth] masks.

    Returns:
      [n, 3 * classes + 1] float64: of each class the pixels that are predicted and true, predicted, true; the loss.
    """
    found, counts = outputs.argmax(axis=-1), y != labels_lib.IGNORED
    rows = np.zeros((len(y), 3 * self.num_outputs + 1))
    for row, predicted, true, counted in zip(rows, found, y, counts, strict=True):
      predicted, true = predicted[counted], true[counted]
      for place, pixels in enumerate((true[predicted == true], predicted, true)):
        row[place * self.num_outputs:(place + 1) * self.num_outputs] = np.bincount(pixels, minlength=self.num_outputs)
    if len(y):
      rows[:, -1] = base.per_example(self.loss_fn)(y, outputs).numpy()
    return rows

  def measure(self, outputs, y):
    """Returns Dice and IoU of each class over all pixels and their means, the share of right pixels, and the loss.

    Args:
      outputs: Logits, or the result of `counted` for them.
      y: Masks.
    """
    rows = self._rows(outputs, y)
    both, predicted, true = self._sums(rows)
    dice, iou = _dice(both, predicted, true), _divided(both, predicted + true - both)
    return {'evaluation': {
        LEADING: self._mean(dice), 'iou': self._mean(iou), 'pixel_accuracy': _divided(both.sum(), true.sum()),
        'loss': float(rows[:, -1].mean()), 'dice_by_class': dice, 'iou_by_class': iou}}

  def yardstick(self, outputs, y):
    del outputs, y
    return {}

  def client_values(self, outputs, y, clients):
    """Returns the mean Dice of each client over all of its pixels."""
    rows = self._rows(outputs, y)
    return [self._mean(_dice(*self._sums(rows[own]))) if len(own) else None for own in map(np.asarray, clients)]

  def of_images(self, rows: np.ndarray) -> np.ndarray:
    """Returns the mean Dice of each image, [n], from the rows of `counted`; nan if neither side shows a class."""
    return np.array([np.nan if (value := self._mean(_dice(*self._sums(row[None])))) is None else value
                     for row in rows])

  def _rows(self, outputs, y):
    return outputs if outputs.ndim == 2 else self.counted(outputs, y)

  def _sums(self, rows):
    """Returns [classes] of pixels right, predicted and true."""
    return np.split(rows[:, :-1].sum(axis=0), 3)

  def _mean(self, by_class):
    known = [value for value in by_class[int(self.background):] if value is not None]
    return float(np.mean(known)) if known else None


def _dice(both, predicted, true):
  return _divided(2 * both, predicted + true)


def _divided(top, bottom):
  """Returns quotients as numbers that JSON can hold; None where nothing was counted."""
  if np.ndim(top):
    return [_divided(one, other) for one, other in zip(top, bottom, strict=True)]
  return float(top / bottom) if bottom else None


def _right_shares(y, outputs):
  """Returns the share of counted pixels that are right, [batch]; 0 for an image without any. Runs on clients."""
  y = tf.cast(y, tf.int32)
  counted = tf.cast(tf.not_equal(y, labels_lib.IGNORED), tf.float32)
  right = tf.cast(tf.equal(tf.argmax(outputs, -1, tf.int32), y), tf.float32) * counted
  pixels = list(range(1, len(counted.shape)))
  return tf.math.divide_no_nan(tf.reduce_sum(right, pixels), tf.reduce_sum(counted, pixels))


def build(settings, class_names, labels, normal_class) -> base.Objective:
  """Returns the objective for these classes; class 0 is the background if it has that name.

  Raises:
    ValueError: Labels are no masks, or the number of weights is not that of the classes.
  """
  del normal_class
  base.check_labels('segmentation', labels, labels_lib.Kind.MASK, labels_lib.Kind.VOLUME)
  if len(class_names) < 2:
    raise ValueError(f'task=segmentation needs two classes, and the masks hold only {class_names[0]}.')
  if settings.class_weights and len(settings.class_weights) != len(class_names):
    raise ValueError(f'class_weights has {len(settings.class_weights)} numbers, and the masks have {len(class_names)} '
                     f'classes: {", ".join(map(str, class_names[:12]))}.')
  return Segmentation(num_outputs=len(class_names), volumes=labels is labels_lib.Kind.VOLUME,
                      background=str(class_names[0]).lower() == labels_lib.BACKGROUND,
                      class_weights=tuple(map(float, settings.class_weights)), dice_weight=settings.dice_weight)
