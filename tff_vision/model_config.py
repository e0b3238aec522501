"""Which model is trained."""

import dataclasses

from tff_vision import validate

BUILT_IN = ('autoencoder', 'cnn', 'cnn_dropout', 'cnn_tanh', 'linear', 'mlp', 'mobilenet_v3_small', 'resnet18_gn',
            'resnet20_gn', 'scattering', 'vit_tiny')
MODELS = (*BUILT_IN, 'keras_file')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Which Keras model: a key of `tff_vision.models.MODELS`, or `keras_file`.

  Attributes:
    initial_model: The Keras file of `keras_file`: architecture and first weights.
    frozen_layers: Names or glob patterns of layers of initial_model that are not trained, separated by commas.
  """
  model: str = 'mlp'
  initial_model: str | None = None
  frozen_layers: str = ''

  def __post_init__(self):
    validate.one_of(MODELS, model=self.model)
    if (self.model == 'keras_file') != (self.initial_model is not None):
      raise ValueError(f'model=keras_file and initial_model=FILE go together, found model={self.model} and '
                       f'initial_model={self.initial_model}.')
    if self.frozen_layers and self.initial_model is None:
      raise ValueError(f'frozen_layers={self.frozen_layers} needs initial_model: layers that begin at random are worth '
                       'training.')
