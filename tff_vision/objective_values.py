"""What a model is to learn, as values: `import tff_vision as tv`, `tv.Task(images, objective=tv.Segmentation())`."""

import dataclasses
from typing import Any

from tff_vision import configs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification:
  """Classification: one class for each image, or several findings.

  Attributes:
    loss: A `tf.keras.losses.Loss`, or a function (labels, logits) -> the loss of each example; None: cross-entropy.
  """
  loss: Any = None


@dataclasses.dataclass(frozen=True)
class Embedding:
  """Embeddings: vectors of `size` numbers that are close to each other for images of one class."""
  size: int = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detection:
  """Detection: a box and a class for each object, from images with boxes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation:
  """Segmentation: the class of each pixel, from images with masks.

  Attributes:
    class_weights: One weight for each class in the loss; none: all are 1.
    dice_weight: Weight of Dice in the loss, beside the cross-entropy.
  """
  class_weights: tuple[float, ...] = ()
  dice_weight: float = 1.0


def section(objective: Any) -> configs.TaskConfig:
  """Returns the section `task` of a config for one of these values, or for an object that is itself the objective.

  Raises:
    ValueError: It is a class.
  """
  if isinstance(objective, configs.TaskConfig):
    return objective
  if isinstance(objective, Classification):
    return configs.TaskConfig(loss=objective.loss)
  if isinstance(objective, Embedding):
    return configs.TaskConfig(task='embedding', embedding_size=objective.size)
  if isinstance(objective, Detection):
    return configs.TaskConfig(task='detection')
  if isinstance(objective, Segmentation):
    return configs.TaskConfig(task='segmentation', class_weights=tuple(objective.class_weights),
                              dice_weight=objective.dice_weight)
  if isinstance(objective, type):
    raise ValueError(f'objective={objective.__name__} is a class: give an object, {objective.__name__}(...).')
  return configs.TaskConfig(task=objective)
