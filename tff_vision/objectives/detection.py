"""Detection: a box and a class for each object of an image; any number of objects."""

import dataclasses

import numpy as np
import tensorflow as tf

from tff_vision import labels as labels_lib
from tff_vision.objectives import average_precision, base, centre_points
from tff_vision.objectives import metric as metric_lib

_BATCH = 100
METRICS = (
    metric_lib.Metric(name='map', title='mAP 0.5:0.95', percent=True),
    metric_lib.Metric(name='map_50', title='mAP 0.5', percent=True), metric_lib.LOSS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detection:
  """Outputs are maps, [batch, rows, columns, classes + 4], as `centre_points` describes them.

  Attributes:
    classes: Number of classes of objects.
  """
  classes: int
  metric: str = 'map'
  task: str = 'detection'

  @property
  def num_outputs(self):
    return self.classes + centre_points.BEYOND_CLASSES

  @property
  def declared(self):
    return METRICS

  @property
  def head(self):
    return self.num_outputs

  def output_shape(self, input_shape):
    """Returns the shape of the model's output for one image: a map of any resolution."""
    del input_shape
    return None, None, self.num_outputs

  @property
  def loss_fn(self):
    return centre_points.CentreLoss()

  @property
  def separable(self):
    return True

  def keras_model(self, builder, input_shape):
    return builder(input_shape, self.num_outputs)

  def right(self, outputs, y):
    del outputs, y
    return tf.constant(0.0, tf.float64)

  def metrics(self):
    return []

  def measure(self, outputs, y):
    """Returns mean average precisions, those of each class, and the loss."""
    found = average_precision.measure(decoded(outputs), y, self.classes)
    return {'evaluation': {
        **({} if found.mean is None else {'map': found.mean, 'map_50': found.at_half}),
        'loss': float(np.mean(losses(outputs, y))),
        'ap_by_class': found.by_class, 'ap_50_by_class': found.half_by_class}}

  def yardstick(self, outputs, y):
    del outputs, y
    return {}

  def client_values(self, outputs, y, clients):
    return [part.mean for part in self.of_clients(outputs, y, clients)]

  def of_clients(self, outputs, y, clients) -> list[average_precision.Precision]:
    """Returns the average precisions within the test images of each client."""
    found = decoded(outputs)
    return [average_precision.measure({name: part[own] for name, part in found.items()}, y[own], self.classes)
            for own in map(np.asarray, clients)]


def decoded(outputs: np.ndarray, most: int = centre_points.MOST_BOXES) -> dict[str, np.ndarray]:
  """Returns the boxes, scores and classes of maps, [n, rows, columns, classes + 4], as arrays."""
  parts = [centre_points.decode(tf.constant(part), most) for part in _batches(outputs)]
  return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def losses(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Returns the loss of each example, [n]."""
  loss = base.per_example(centre_points.CentreLoss())
  return np.concatenate([loss(labels, tf.constant(part)).numpy() for part, labels in zip(
      _batches(outputs), _batches(y), strict=True)])


def _batches(values):
  return [values[first:first + _BATCH] for first in range(0, max(1, len(values)), _BATCH)]


def build(settings, class_names, labels, normal_class) -> base.Objective:
  """Returns the objective for these classes of objects.

  Raises:
    ValueError: Labels are no boxes.
  """
  del settings, normal_class
  base.check_labels('detection', labels, labels_lib.Kind.BOXES)
  return Detection(classes=len(class_names))
