"""The configuration of the task: classification, anomaly detection, embeddings or detection."""

import dataclasses
from typing import Any

from tff_vision.configs import compatibility, option, training_config, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
  """What is learned; `task` may also be an object with the methods of `objectives.Objective`.

  `loss` may also be an object: a `tf.keras.losses.Loss`, or a function (labels, logits) -> the loss of each example.
  """
  task: Any = option.option(
      'classification', 'What is learned: classes or findings, what deviates from normal_class, or vectors that tell '
      'whether two images show the same, or a box for each object.')
  loss: Any = option.option(
      None, 'Of classification: package.module:attribute, a Keras loss or a function of labels and logits; unset is '
      'cross-entropy.')
  loss_option: tuple[str, ...] = option.option((), 'key=value for --loss, repeatable.')
  embedding_size: int = option.option(64, 'Length of the vectors of task=embedding.')

  def __post_init__(self):
    option.check_choices(self)
    if self.loss is not None:
      validate.own(loss=self.loss)
    training_config.check_options('loss', self.loss, self.loss_option)
    validate.positive(embedding_size=self.embedding_size)
    compatibility.check(self)
