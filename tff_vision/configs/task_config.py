"""What is learned: classes of images, what a good image looks like, or who is alike."""

import dataclasses
from typing import Any

from tff_vision import plugins
from tff_vision.configs import data_config, model_config, training_config, validate

TASKS = ('anomaly', 'classification', 'embedding')
AUTOENCODERS = ('autoencoder', 'keras_file')


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
  """A key of `tff_vision.objectives.TASKS` and its settings.

  Attributes:
    loss: Of classification: a `tf.keras.losses.Loss`, or a function (labels, logits) -> the loss of each example, or a
      reference to one, in place of cross-entropy.
    loss_option: `key=value`, keyword arguments of a reference's class.
    task: `classification`, also of several findings to an image; `anomaly`, an autoencoder trained on the images of
      normal_class alone, whose error on an image is its score; `embedding`, unit vectors that are near each other for
      images of one class, also of a class that nobody trained on.
    embedding_size: Length of the vectors of `embedding`.
  """
  task: Any = 'classification'
  loss: Any = None
  loss_option: tuple[str, ...] = ()
  embedding_size: int = 64

  def __post_init__(self):
    if isinstance(self.task, str):
      validate.one_of(TASKS, task=self.task)
    if self.loss is not None:
      validate.own(loss=self.loss)
      if self.task != 'classification':
        raise ValueError(f'loss={self.loss} has no effect with task={self.task}, which has a loss of its own.')
    training_config.check_options((), self.loss, self.loss_option, 'loss')
    validate.positive(embedding_size=self.embedding_size)
    if self.task != 'embedding' and self.embedding_size != type(self).embedding_size:
      raise ValueError(f'embedding_size={self.embedding_size} has no effect with task={self.task}.')


def check_together(task: TaskConfig, data: data_config.DataConfig, model: model_config.ModelConfig,
                   privacy: str) -> None:
  """Refuses settings that a task would not read, and what it cannot do.

  Raises:
    ValueError: In one sentence.
  """
  if (data.normal_class is not None) != (task.task == 'anomaly'):
    raise ValueError(f'task={task.task} and normal_class={data.normal_class}: task=anomaly, and no other, needs the '
                     'class of images that are as they should be.')
  if task.task == 'anomaly' and not (model.model in AUTOENCODERS or plugins.is_own(model.model, model_config.MODELS)):
    raise ValueError(f'task=anomaly needs a model that returns images: one of {", ".join(AUTOENCODERS)}, found '
                     f'model={model.model}.')
  if task.task != 'anomaly' and model.model == 'autoencoder':
    raise ValueError(f'model=autoencoder goes with task=anomaly, found task={task.task}.')
  if task.task == 'embedding' and privacy == 'example_dp_sgd':
    raise ValueError('privacy=example_dp_sgd does not go with task=embedding: its loss compares the images of a batch, '
                     'so no clip bounds what one image changes. Choose a client-level mechanism.')
