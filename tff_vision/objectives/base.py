"""What a task must say of itself, and curves that several tasks have."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tff_vision import labels as labels_lib
from tff_vision import models
from tff_vision.objectives import metric as metric_lib


class Objective(Protocol):
  """The interface of an objective: outputs, loss and metrics of a task.

  Some members are optional. `mistakes(outputs, y)` returns the section `where_it_is_wrong` of a report, as data.
  `facts` is further content of model.json, and `notes` are sentences a user must see. If `needs_labels` is true,
  `fitted(y)` returns the objective with constants from the training labels of all clients, which no promise covers.

  Attributes:
    task: The name of the task.
    metric: The name of the main number of `measure`; `client_values` gives this number for each client.
    declared: The numbers of `measure` that are metrics. Runs are chosen by the first of them, in this order, that all
      runs have. Without the attribute: `metric` and the loss.
    num_outputs: Length of an output of `keras_model`; of a vector for each pixel, of that vector.
    head: How many outputs the last layer of a model file must have; None if the layer stays unchanged.
    loss_fn: (labels, outputs) -> loss, averaged over a batch.
    separable: Whether it is known that the loss of a batch is the mean of separate terms, one per example. Without the
      attribute it counts as not known.
  """
  task: str
  metric: str

  @property
  def declared(self) -> Sequence[metric_lib.Metric]: ...

  @property
  def num_outputs(self) -> int: ...

  @property
  def head(self) -> int | None: ...

  @property
  def loss_fn(self) -> tf.keras.losses.Loss: ...

  @property
  def separable(self) -> bool: ...

  def keras_model(self, builder: models.ModelBuilder, input_shape: tuple[int, int, int]) -> tf.keras.Model:
    """Returns the model that is trained and exported, [batch, num_outputs] or [batch, *output_shape(input_shape)].

    `output_shape` is a method (input_shape) -> the shape of the output for one image, for objectives whose outputs are
    no vector of `num_outputs`; a side that may have any length is None there.
    """

  def right(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Returns the number of correct answers, float64 []; zero for tasks without answers. Runs on clients."""

  def metrics(self) -> Sequence[tf.keras.metrics.Metric]:
    """Returns new training metrics, for TFF's own algorithms."""

  def measure(self, outputs: np.ndarray, y: np.ndarray) -> Mapping[str, Any]:
    """Returns {'evaluation': named numbers} of a test set, and {'roc': curve} if there is one.

    If the objective has a method `counted`, (outputs, y) -> [n, k], evaluation calls it for a few images at a time, and
    its results replace the outputs here and in `client_values`.
    """

  def yardstick(self, outputs: np.ndarray, y: np.ndarray) -> Mapping[str, Any]:
    """Returns numbers from the test set's outputs that help users of the exported model to judge a single output."""

  def client_values(self, outputs: np.ndarray, y: np.ndarray, clients: Sequence[np.ndarray]) -> list[float | None]:
    """Returns the metric of each client; None if the client's test examples do not determine it."""


def check_labels(task: str, labels: labels_lib.Kind, *possible: labels_lib.Kind) -> None:
  """Refuses a task on images whose labels are of a kind that it cannot learn from.

  Raises:
    ValueError: `labels` is not among `possible`.
  """
  if labels not in possible:
    others = ' or '.join(f'task={name}' for name in _TASKS_OF[labels])
    raise ValueError(f'task={task} cannot learn from this data set: {_WORDS[labels]}, which {others} learns from.')


_WORDS = {labels_lib.Kind.CLASS: 'its images have one class each', labels_lib.Kind.MASK: 'its labels are masks',
          labels_lib.Kind.VOLUME: 'its labels are masks of volumes',
          labels_lib.Kind.FINDINGS: 'its images have findings', labels_lib.Kind.BOXES: 'its labels are boxes',
          labels_lib.Kind.NUMBER: 'its labels are numbers'}
_TASKS_OF = {labels_lib.Kind.CLASS: ('classification',), labels_lib.Kind.FINDINGS: ('classification',),
             labels_lib.Kind.MASK: ('segmentation',), labels_lib.Kind.VOLUME: ('segmentation',),
             labels_lib.Kind.BOXES: ('detection',),
             labels_lib.Kind.NUMBER: ('regression',)}


def output_shape(objective: Objective, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
  """Returns the shape of the output of an objective's model for one image of `input_shape`."""
  own = getattr(objective, 'output_shape', None)
  return (objective.num_outputs,) if own is None else tuple(own(input_shape))


def per_example(loss: tf.keras.losses.Loss) -> tf.keras.losses.Loss:
  """Returns the same loss as (labels, outputs) -> [batch], one number per example.

  It is copied, not made with `from_config`, because a user's loss may have parameters that its config does not contain.
  """
  one_each = copy.copy(loss)
  one_each.reduction = tf.keras.losses.Reduction.NONE
  return one_each


def roc(positive: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
  """Returns the curve of true over false positive rates at up to 200 points, evenly spaced in the log of the latter."""
  from sklearn import metrics  # Imported late: half a second.
  false_rate, true_rate, thresholds = metrics.roc_curve(positive, scores)
  places = np.unique(np.searchsorted(false_rate, np.r_[0, np.geomspace(max(1e-5, 1 / (~positive).sum()), 1, 200)],
                                     side='right') - 1)
  return {'false_positive_rate': false_rate[places].tolist(), 'true_positive_rate': true_rate[places].tolist(),
          'threshold': np.minimum(thresholds[places], np.finfo(np.float32).max).tolist()}


def true_rate_at(positive: np.ndarray, scores: np.ndarray, false_rate: float) -> float:
  """Returns the largest share of positives above a threshold that at most `false_rate` of the negatives exceed."""
  others = np.sort(scores[~positive])[::-1]
  threshold = others[min(int(false_rate * len(others)), len(others) - 1)]
  return float((scores[positive] > threshold).mean())
