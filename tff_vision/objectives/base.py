"""What a task must say of itself, and curves that several tasks have."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tff_vision import models
from tff_vision.objectives import metric as metric_lib


class Objective(Protocol):
  """What is learned.

  Attributes:
    task: Its name.
    metric: The number of `measure` that stands first, and over clients that of `client_values`.
    declared: The numbers of `measure` that are metrics, in the order in which runs are chosen by them (the first that
      all have); without the attribute, `metric` and the loss.
    num_outputs: Length of an output of `keras_model`.
    head: How many outputs a model file's last layer must have; None if it stays as it is.
    loss_fn: (labels, outputs) -> loss, averaged over a batch.
    separable: Whether it is known that the loss of a batch is the mean of one term for each example alone. Without
      the attribute it counts as not known.
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
    """Returns the model that is trained and exported, [batch, num_outputs]."""

  def right(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Returns how many answers are right, float64 []; zero where there are no answers. Runs on clients."""

  def metrics(self) -> Sequence[tf.keras.metrics.Metric]:
    """Returns fresh metrics of training, for TFF's own algorithms."""

  def measure(self, outputs: np.ndarray, y: np.ndarray) -> Mapping[str, Any]:
    """Returns {'evaluation': named numbers} of a test set, and {'roc': curve} where there is one."""

  def yardstick(self, outputs: np.ndarray, y: np.ndarray) -> Mapping[str, Any]:
    """Returns what the test set's outputs say on how to read a single one, for those who use the exported model."""

  def client_values(self, outputs: np.ndarray, y: np.ndarray, clients: Sequence[np.ndarray]) -> list[float | None]:
    """Returns the metric of each client, None where its test examples do not determine it."""


def per_example(loss: tf.keras.losses.Loss) -> tf.keras.losses.Loss:
  """Returns the same loss, (labels, outputs) -> [batch], one number an example.

  A copy and not `from_config`: a loss of the user's may keep parameters that its config does not hold.
  """
  one_each = copy.copy(loss)
  one_each.reduction = tf.keras.losses.Reduction.NONE
  return one_each


def roc(positive: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
  """Returns the curve of true over false positive rates at up to 200 places, even in the logarithm of the latter."""
  from sklearn import metrics  # Late: half a second.
  false_rate, true_rate, thresholds = metrics.roc_curve(positive, scores)
  places = np.unique(np.searchsorted(false_rate, np.r_[0, np.geomspace(max(1e-5, 1 / (~positive).sum()), 1, 200)],
                                     side='right') - 1)
  return {'false_positive_rate': false_rate[places].tolist(), 'true_positive_rate': true_rate[places].tolist(),
          'threshold': np.minimum(thresholds[places], np.finfo(np.float32).max).tolist()}


def true_rate_at(positive: np.ndarray, scores: np.ndarray, false_rate: float) -> float:
  """Returns the largest share of positives above a threshold that no more than `false_rate` of the others exceed."""
  others = np.sort(scores[~positive])[::-1]
  threshold = others[min(int(false_rate * len(others)), len(others) - 1)]
  return float((scores[positive] > threshold).mean())
