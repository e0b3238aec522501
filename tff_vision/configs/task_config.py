"""The configuration of the task: classes, findings, grades, numbers, anomalies, embeddings, masks or boxes."""

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
      'whether two images show the same, grades with an order, a number, the class of each pixel, or a box for each '
      'object.')
  loss: Any = option.option(
      None, 'Of classification and regression: what is minimised; unset is cross_entropy or huber.',
      own='package.module:attribute, a Keras loss or a function of labels and outputs')
  loss_option: tuple[str, ...] = option.option((), 'key=value for --loss, repeatable.')
  class_weights: tuple[float | str, ...] = option.option(
      (), 'Of classification and segmentation: one weight for each class in the loss, in the order of the classes (of '
      'findings, for their positives). Of classification also balanced, by the number of training examples.',
      separated=True)
  focal_gamma: float = option.option(2.0, 'loss=focal: how much less a well-known example counts.')
  target_range: tuple[float | str, ...] = option.option(
      (), 'LOW,HIGH, within which most numbers of task=regression lie; unset: mean and deviation of the training '
      'targets are used, which no promise covers.', separated=True)
  class_order: tuple[str, ...] = option.option(
      (), 'The classes of task=ordinal, from the lowest to the highest; unset: by their names, if these are numbers.',
      separated=True)
  dice_weight: float = option.option(1.0, 'Of segmentation: weight of Dice in the loss, beside the cross-entropy.')
  embedding_size: int = option.option(64, 'Length of the vectors of task=embedding.')

  def __post_init__(self):
    option.check_choices(self)
    training_config.check_options('loss', self.loss, self.loss_option)
    validate.positive(embedding_size=self.embedding_size)
    validate.non_negative(focal_gamma=self.focal_gamma, dice_weight=self.dice_weight)
    # The class is frozen. Flags give numbers as text.
    object.__setattr__(self, 'class_weights', _weights(self.class_weights))
    object.__setattr__(self, 'target_range', _range(self.target_range))
    compatibility.check(self)


def _weights(given):
  """Returns weights as numbers, or `('balanced',)`.

  Raises:
    ValueError: One is no finite number of 0 or more, or all are 0.
  """
  if tuple(given) == ('balanced',):
    return tuple(given)
  weights = _numbers(given)
  if weights is None or weights and not (min(weights) >= 0 and sum(weights) > 0):
    raise ValueError(f'class_weights={",".join(map(str, given))} must be balanced, or numbers of 0 or more, separated '
                     'by commas, not all of them 0.')
  return weights


def _range(given):
  """Returns the range as numbers.

  Raises:
    ValueError: It is not two finite numbers of which the second is larger.
  """
  ends = _numbers(given)
  if ends is None or ends and not (len(ends) == 2 and ends[0] < ends[1]):
    raise ValueError(f'target_range={",".join(map(str, given))} must be LOW,HIGH, two numbers of which the second is '
                     'larger.')
  return ends


def _numbers(given):
  try:
    found = tuple(float(one) for one in given)
  except (TypeError, ValueError):
    return None
  return found if all(math.isfinite(one) for one in found) else None
