"""The configuration of the task: classification, anomalies, embeddings, segmentation or detection."""

import dataclasses
import math
from typing import Any

from tff_vision.configs import compatibility, option, training_config, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
  """What is learned; `task` may also be an object with the methods of `objectives.Objective`.

  `loss` may also be an object: a `tf.keras.losses.Loss`, or a function (labels, logits) -> the loss of each example.
  """
  task: Any = option.option(
      'classification', 'What is learned: classes or findings, what deviates from normal_class, vectors that tell '
      'whether two images show the same, the class of each pixel, or a box for each object.')
  loss: Any = option.option(
      None, 'Of classification: package.module:attribute, a Keras loss or a function of labels and logits; unset is '
      'cross-entropy.')
  loss_option: tuple[str, ...] = option.option((), 'key=value for --loss, repeatable.')
  class_weights: tuple[float, ...] = option.option(
      (), 'Of segmentation: one weight for each class in the loss, in the order of the classes; unset: all are 1.',
      separated=True)
  dice_weight: float = option.option(1.0, 'Of segmentation: weight of Dice in the loss, beside the cross-entropy.')
  embedding_size: int = option.option(64, 'Length of the vectors of task=embedding.')

  def __post_init__(self):
    option.check_choices(self)
    if self.loss is not None:
      validate.own(loss=self.loss)
    training_config.check_options('loss', self.loss, self.loss_option)
    validate.positive(embedding_size=self.embedding_size)
    validate.non_negative(dice_weight=self.dice_weight)
    object.__setattr__(self, 'class_weights', _weights(self.class_weights))  # The class is frozen.
    compatibility.check(self)


def _weights(given):
  """Returns weights as numbers; flags give them as text.

  Raises:
    ValueError: One is no finite number of 0 or more, or all are 0.
  """
  try:
    weights = tuple(float(weight) for weight in given)
  except (TypeError, ValueError):
    weights = (-1.0,)
  if weights and not (all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0):
    raise ValueError(f'class_weights={",".join(map(str, given))} must be numbers of 0 or more, separated by commas, '
                     'not all of them 0.')
  return weights
