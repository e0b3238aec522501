"""Which model is trained."""

import dataclasses
from typing import Any

from tff_vision.configs import training_config, validate

BUILT_IN = ('autoencoder', 'cnn', 'cnn_dropout', 'cnn_gn', 'cnn_private', 'cnn_tanh', 'linear', 'mlp',
            'mobilenet_v3_small', 'resnet18_gn', 'resnet20_gn', 'scattering', 'vit_tiny')
MODELS = (*BUILT_IN, 'keras_file')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Which Keras model: a key of `tff_vision.models.MODELS`, or `keras_file`, or your own.

  Attributes:
    model: A name, or a function (input_shape, num_classes) -> Keras model of logits, or a reference to one.
    model_option: `key=value`, keyword arguments of a reference's function.
    imports: Modules, or .py files, that are imported first, such as those that register the layers of a Keras file.
    initial_model: The Keras file of `keras_file`: architecture and first weights.
    frozen_layers: Names or glob patterns of layers of initial_model that are not trained, separated by commas.
  """
  model: Any = 'mlp'
  model_option: tuple[str, ...] = ()
  imports: tuple[str, ...] = ()
  initial_model: str | None = None
  frozen_layers: str = ''

  def __post_init__(self):
    validate.one_of_or_own(MODELS, model=self.model)
    for name in self.imports:
      if not name.endswith('.py') and not all(part.isidentifier() for part in name.split('.')):
        raise ValueError(f'import must name Python modules or files, found {name!r}.')
    training_config.check_options(MODELS, self.model, self.model_option, 'model')
    if (self.model == 'keras_file') != (self.initial_model is not None):
      raise ValueError(f'model=keras_file and initial_model=FILE go together, found model={self.model} and '
                       f'initial_model={self.initial_model}.')
    if self.frozen_layers and self.initial_model is None:
      raise ValueError(f'frozen_layers={self.frozen_layers} needs initial_model: layers that begin at random are worth '
                       'training.')
