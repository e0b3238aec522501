"""What the model is for: outputs, loss, and how good it is, by task."""

from collections.abc import Callable, Mapping
from typing import Protocol

from tff_vision.configs import task_config
from tff_vision.objectives import anomaly, base, classification, embedding

Objective = base.Objective

# (settings, class names, whether there are several findings to an image, the normal class) -> what is learned
TASKS: Mapping[str, Callable[[task_config.TaskConfig, tuple[str, ...], bool, str | None], base.Objective]] = {
    'anomaly': anomaly.build,
    'classification': classification.build,
    'embedding': embedding.build,
}


class Labelled(Protocol):
  """Images of known classes, such as `data.images.FederatedImages`."""
  class_names: tuple[str, ...]
  multi_label: bool


def is_separable(objective: base.Objective) -> bool:
  """Returns whether an objective says that the loss of a batch is the mean of one term for each example alone.

  What it inherits says nothing of a loss that is its own.
  """
  if 'separable' in getattr(objective, '__dict__', {}):
    return bool(objective.separable)
  for kind in type(objective).__mro__:
    if 'separable' in vars(kind):
      return bool(objective.separable)
    if 'loss_fn' in vars(kind):
      return False
  return False


def build(settings: task_config.TaskConfig, images: Labelled, normal_class: str | None) -> base.Objective:
  """Returns what a config says is learned from these images; an objective that is an object is itself."""
  if not isinstance(settings.task, str):
    return settings.task
  return TASKS[settings.task](settings, tuple(images.class_names), images.multi_label, normal_class)
