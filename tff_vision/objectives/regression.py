"""Regression: one number for each image, learned in standard units and predicted in the user's unit."""

import dataclasses

import numpy as np
import tensorflow as tf

from tff_vision import labels as labels_lib
from tff_vision.measures import residuals, worst
from tff_vision.models import pretrained
from tff_vision.objectives import base, losses
from tff_vision.objectives import metric as metric_lib

LEADING = 'mae'
_DEVIATIONS_IN_A_RANGE = 4
METRICS = (metric_lib.Metric(name=LEADING, title='mean absolute error', higher_is_better=False),
           metric_lib.Metric(name='rmse', title='root mean squared error', higher_is_better=False),
           metric_lib.Metric(name='r2', title='R²'), metric_lib.LOSS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression:
  """Outputs are [batch, 1], in the user's unit; the model's last step is offset + scale * (what the layers give).

  Attributes:
    offset: The number that the layers' 0 stands for.
    scale: The difference that the layers' 1 stands for; positive.
    kind: `squared`, `absolute` or `huber`: the loss, of errors over `scale`.
    own: The user's own loss instead, of labels and outputs [batch, 1].
    needs_labels: Whether offset and scale are still to be computed.
    notes: Sentences a user must see.
  """
  offset: float
  scale: float
  kind: str = 'huber'
  own: tf.keras.losses.Loss | None = None
  needs_labels: bool = False
  notes: tuple[str, ...] = ()
  metric: str = LEADING
  task: str = 'regression'
  num_outputs: int = 1
  head: int = 1

  @property
  def declared(self):
    return METRICS

  @property
  def loss_fn(self):
    return losses.NumberError(self.kind, self.scale) if self.own is None else losses.OfColumns(self.own)

  @property
  def separable(self):
    return self.own is None

  def keras_model(self, builder, input_shape):
    """Returns the model of one output, with the output brought to the user's unit."""
    inner = builder(input_shape, 1)
    in_units = tf.keras.layers.Rescaling(self.scale, self.offset, name=pretrained.IN_UNITS)(inner.outputs[0])
    return tf.keras.Model(inner.inputs, in_units, name=inner.name)

  def fitted(self, y):
    """Returns the objective with mean and deviation of training targets as offset and scale.

    Raises:
      ValueError: All targets are equal.
    """
    y = y.astype(np.float64)
    offset, scale = (float(f'{value:.6g}') for value in (y.mean(), y.std()))
    if not scale > 0:
      raise ValueError(f'all training targets are {y[0]:g}: there is nothing to learn.')
    note = (f'Targets are learned in units of their deviation {scale:g} about their mean {offset:g}, which were '
            f'computed from {len(y)} training targets; target_range=LOW,HIGH needs none.')
    return dataclasses.replace(self, offset=offset, scale=scale, needs_labels=False, notes=(note,))

  def right(self, outputs, y):
    del outputs, y
    return tf.constant(0.0, tf.float64)

  def metrics(self):
    return [tf.keras.metrics.MeanAbsoluteError(name=LEADING)]

  def measure(self, outputs, y):
    """Returns mean absolute error, root mean squared error and R squared, and the loss."""
    return {'evaluation': {**residuals.errors(y, outputs[:, 0]),
                           'loss': float(base.per_example(self.loss_fn)(y, outputs).numpy().mean())}}

  def mistakes(self, outputs, y):
    """Returns the section `where_it_is_wrong` of a report."""
    return {'residuals': residuals.describe(y, outputs[:, 0]), 'worst': worst.largest_errors(y, outputs[:, 0])}

  def yardstick(self, outputs, y):
    """Returns the percentiles of the absolute error on test images, at every percent."""
    return {'absolute_errors': np.percentile(np.abs(outputs[:, 0] - y), np.arange(101)).tolist()}

  def client_values(self, outputs, y, clients):
    error = np.abs(outputs[:, 0].astype(np.float64) - y)
    return [float(error[positions].mean()) if len(positions) else None for positions in clients]


def build(settings, class_names, labels, normal_class) -> base.Objective:
  """Returns the objective; without a range of targets, offset and scale are to be computed from training targets.

  Raises:
    ValueError: Labels are no numbers.
  """
  del class_names, normal_class
  if labels is not labels_lib.Kind.NUMBER:
    raise ValueError('task=regression needs a number for each image, and this data set has none: target=NAME says '
                     'which column of manifest.csv, or which array of an .npz, holds it.')
  own = losses.brought(settings)
  kind = settings.loss if own is None and settings.loss is not None else 'huber'
  if not settings.target_range:
    return Regression(offset=0.0, scale=1.0, kind=kind, own=own, needs_labels=True)
  low, high = settings.target_range
  return Regression(offset=(low + high) / 2, scale=(high - low) / _DEVIATIONS_IN_A_RANGE, kind=kind, own=own)
