"""Ordinal classes: grades with an order, of which neighbours are more alike than others.

A score and K - 1 ascending thresholds give the probabilities that the grade is above each threshold (McCullagh,
"Regression Models for Ordinal Data", JRSS B 1980). The loss is the mean cross-entropy of these K - 1 answers, as in
CORAL (Cao, Mirjalili and Raschka, Pattern Recognition Letters 2020, arXiv:1901.07884); ascending thresholds keep the
answers consistent during training too, not only at the optimum.
"""

import dataclasses

import numpy as np
import tensorflow as tf
from scipy import special

from tff_vision import labels as labels_lib
from tff_vision.measures import agreement, calibration, confusion, worst
from tff_vision.models import pretrained
from tff_vision.objectives import base
from tff_vision.objectives import metric as metric_lib

LEADING = 'mae'
METRICS = (metric_lib.Metric(name='quadratic_weighted_kappa', title='quadratic weighted kappa'),
           metric_lib.Metric(name=LEADING, title='mean distance in classes', higher_is_better=False),
           metric_lib.Metric(name='accuracy', percent=True), metric_lib.LOSS)


class Cumulative(tf.keras.losses.Loss):
  """The mean cross-entropy of whether a label lies above each threshold; labels are class numbers."""

  def __init__(self, ranks: tuple[int, ...]):
    """Args: `ranks`: the place of each class on the scale, from 0."""
    super().__init__(name='cumulative')
    self._ranks = ranks

  def call(self, y_true, y_pred):
    above = _above(self._ranks, y_true)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(above, y_pred.dtype), y_pred), axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ordinal:
  """Outputs are [batch, classes - 1]: log odds that the class is above each step of the scale, never ascending.

  Attributes:
    order: Class numbers, from the lowest to the highest class.
  """
  order: tuple[int, ...]
  metric: str = LEADING
  task: str = 'ordinal'
  head: int = 1

  @property
  def declared(self):
    return METRICS

  @property
  def num_outputs(self):
    return len(self.order) - 1

  @property
  def facts(self):
    """Further content of model.json: `order`, the class numbers from the lowest to the highest class."""
    return {'order': list(self.order)}

  @property
  def ranks(self) -> tuple[int, ...]:
    """The place of each class on the scale."""
    return tuple(int(place) for place in np.argsort(self.order))

  @property
  def loss_fn(self):
    return Cumulative(self.ranks)

  @property
  def separable(self):
    return True

  def keras_model(self, builder, input_shape):
    """Returns the model of one score, with thresholds that start evenly spaced over -2..2."""
    inner = builder(input_shape, 1)
    score = inner.outputs[0]
    # A dense layer on the constant 1 is a vector of weights, made of built-in layers, and clipped as such.
    start = np.linspace(-2, 2, self.num_outputs) if self.num_outputs > 1 else np.zeros(1)
    steps = np.log(np.expm1(np.diff(start)))  # Softplus of these gives the distances.
    free = tf.keras.layers.Dense(
        self.num_outputs, use_bias=False, name=pretrained.THRESHOLDS, kernel_initializer=tf.keras.initializers.Constant(
            np.r_[start[:1], steps].reshape(1, -1).tolist()))(tf.ones_like(score))
    ascending = tf.cumsum(tf.concat([free[:, :1], tf.nn.softplus(free[:, 1:])], axis=1), axis=1)
    return tf.keras.Model(inner.inputs, score - ascending, name=inner.name)

  def right(self, outputs, y):
    rank = tf.reduce_sum(tf.cast(outputs > 0, tf.int32), axis=1)
    return tf.reduce_sum(tf.cast(tf.equal(rank, tf.gather(tf.constant(self.ranks), tf.cast(y, tf.int32))), tf.float64))

  def metrics(self):
    return []

  def measure(self, outputs, y):
    """Returns quadratic weighted kappa, the mean distance in classes, accuracy and the loss."""
    counts = self._counts(outputs, y)
    return {'evaluation': {
        'quadratic_weighted_kappa': agreement.quadratic_weighted_kappa(counts),
        LEADING: agreement.mean_distance(counts), 'accuracy': float(np.trace(counts) / counts.sum()),
        'loss': float(base.per_example(self.loss_fn)(y, outputs).numpy().mean())}}

  def mistakes(self, outputs, y):
    """Returns the section `where_it_is_wrong` of a report; the matrix is in the order of class numbers, as labels."""
    predicted = np.array(self.order)[(outputs > 0).sum(axis=1)]
    shares = probabilities(outputs)
    confidence = shares[np.arange(len(y)), (outputs > 0).sum(axis=1)]
    distance = np.abs(np.array(self.ranks)[y] - np.array(self.ranks)[predicted])
    far = worst.confident_errors(y, predicted, distance + np.clip(confidence, 0, 1) / 2)  # The furthest first.
    return {'confusion': confusion.describe(confusion.counts(y, predicted, len(self.order))),
            'calibration': calibration.reliability(confidence, predicted == y),
            'worst': [{**one, 'confidence': float(confidence[one['example']])} for one in far]}

  def yardstick(self, outputs, y):
    del outputs, y
    return {}

  def client_values(self, outputs, y, clients):
    return [agreement.mean_distance(self._counts(outputs[own], y[own])) if len(own) else None
            for own in map(np.asarray, clients)]

  def _counts(self, outputs, y):
    """Returns the confusion matrix in the order of the scale."""
    return confusion.counts(np.array(self.ranks)[y], (outputs > 0).sum(axis=1), len(self.order))


def probabilities(outputs: np.ndarray) -> np.ndarray:
  """Returns the probability of each class in the order of the scale, [n, classes], from outputs [n, classes - 1]."""
  above = special.expit(np.asarray(outputs, np.float64))
  ends = np.ones((len(above), 1))
  return np.concatenate([ends, above], axis=1) - np.concatenate([above, 0 * ends], axis=1)


def build(settings, class_names, labels, normal_class) -> base.Objective:
  """Returns the objective; without an order of their own, classes whose names are all numbers are ordered by these.

  Raises:
    ValueError: Images have no one class, or the order of the classes is not known.
  """
  del normal_class
  base.check_labels('ordinal', labels, labels_lib.Kind.CLASS)
  names = [str(name) for name in class_names]
  if len(names) < 2:
    raise ValueError(f'task=ordinal needs two classes or more, and this data set has {", ".join(names)}.')
  if not settings.class_order:
    try:
      return Ordinal(order=tuple(int(place) for place in np.argsort([float(name) for name in names], kind='stable')))
    except ValueError:
      raise ValueError(f'class_order is missing: the classes of this data set, {", ".join(names[:12])}, from the '
                       'lowest to the highest, separated by commas.') from None
  if sorted(settings.class_order) != sorted(names):
    raise ValueError(f'class_order={",".join(settings.class_order)} must name each class once, and the classes are '
                     f'{", ".join(names[:12])}.')
  return Ordinal(order=tuple(names.index(name) for name in settings.class_order))


def _above(ranks, y):
  """Returns [batch, classes - 1], whether a label's place on the scale is above each step."""
  rank = tf.gather(tf.constant(ranks, tf.int32), tf.cast(y, tf.int32))
  return rank[:, tf.newaxis] > tf.range(len(ranks) - 1)[tf.newaxis]
