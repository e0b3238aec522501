"""Which model is trained."""

import dataclasses

from tff_vision import validate

MODELS = ('cnn', 'cnn_dropout', 'cnn_tanh', 'linear', 'mlp', 'mobilenet_v3_small', 'resnet18_gn', 'resnet20_gn',
          'scattering', 'vit_tiny')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Which Keras model: a key of `tff_vision.models.MODELS`."""
  model: str = 'mlp'

  def __post_init__(self):
    validate.one_of(MODELS, model=self.model)
