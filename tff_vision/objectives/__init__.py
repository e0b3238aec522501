"""What the model is for: outputs, loss, and how good it is, by task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from tff_vision import catalogue, labels, plugins
from tff_vision.configs import task_config
from tff_vision.objectives import anomaly, base, classification, detection, embedding, ordinal, regression, segmentation
from tff_vision.objectives import metric as metric_lib

Objective = base.Objective
Metric = metric_lib.Metric

# (settings, class names, the kind of label that images have, the normal class) -> the objective
TASKS: Mapping[str, Callable[[task_config.TaskConfig, tuple[str, ...], labels.Kind, str | None], base.Objective]] = (
    catalogue.Loaded('task'))
# Task -> the metrics that its objective declares, for readers of reports.
METRICS: Mapping[str, tuple[metric_lib.Metric, ...]] = {
    'classification': classification.METRICS,
    'anomaly': anomaly.METRICS,
    'embedding': embedding.METRICS,
    'ordinal': ordinal.METRICS,
    'regression': regression.METRICS,
    'detection': detection.METRICS,
    'segmentation': segmentation.METRICS,
}


class Labelled(Protocol):
  """Images of known classes, such as `data.images.FederatedImages`."""

  @property
  def class_names(self) -> Sequence[str]: ...

  @property
  def spec(self) -> 'Spec': ...

  def training_labels(self) -> np.ndarray: ...


class Spec(Protocol):
  """What an image and its label are, such as `data.images.ImageSpec`."""

  @property
  def labels(self) -> labels.Kind: ...


def is_separable(objective: base.Objective) -> bool:
  """Returns whether an objective declares that the loss of a batch is the mean of separate terms, one per example.

  An inherited declaration does not count if the objective defines its own loss.
  """
  if 'separable' in getattr(objective, '__dict__', {}):
    return bool(objective.separable)
  for kind in type(objective).__mro__:
    if 'separable' in vars(kind):
      return bool(objective.separable)
    if 'loss_fn' in vars(kind):
      return False
  return False


_NEEDED = ('task', 'metric', 'num_outputs', 'head', 'loss_fn', 'keras_model', 'right', 'metrics', 'measure',
           'yardstick', 'client_values')


def of_images(images: Labelled) -> base.Objective:
  """Returns the objective that learns the labels of these images, with the default settings."""
  task = {labels.Kind.MASK: 'segmentation', labels.Kind.VOLUME: 'segmentation', labels.Kind.BOXES: 'detection',
          labels.Kind.NUMBER: 'regression'}.get(images.spec.labels, 'classification')
  return build(task_config.TaskConfig(task=task), images, None)


def build(settings: task_config.TaskConfig, images: Labelled, normal_class: str | None) -> base.Objective:
  """Returns the objective that a config asks for on these images, which may be an object.

  Raises:
    ValueError: The images have labels of another kind, or an object lacks what an objective has.
  """
  if isinstance(settings.task, str):
    made = TASKS[settings.task](settings, tuple(images.class_names), images.spec.labels, normal_class)
  else:
    made = settings.task
    if missing := [name for name in _NEEDED if not hasattr(made, name)]:
      raise ValueError(f'objective={plugins.name_of(made)} lacks {", ".join(missing)}, which an objective has '
                       '(tff_vision.objectives.Objective).')
  return made.fitted(images.training_labels()) if getattr(made, 'needs_labels', False) else made
