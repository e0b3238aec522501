"""The configuration of the model."""

import dataclasses
from typing import Any

from tff_vision.configs import compatibility, option, training_config


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Which Keras model; of one's own, a function (input_shape, num_classes) -> Keras model of logits."""
  model: Any = option.option(
      'mlp', 'Architecture.',
      own='package.module:function of your own, called with input_shape and num_classes')
  model_option: tuple[str, ...] = option.option((), 'key=value for the function of --model, repeatable.')
  imports: tuple[str, ...] = option.option(
      (), 'Modules or .py files to import first, such as those with layers of initial_model; also --import.',
      separated=True, alias='import')
  initial_model: str | None = option.option(
      None, 'Keras file that model=keras_file begins with: architecture and first weights.', path=True)
  frozen_layers: str = option.option(
      '', 'Names or glob patterns, separated by commas, of layers of initial_model that are not trained.')

  def __post_init__(self):
    option.check_choices(self)
    for name in self.imports:
      if not name.endswith('.py') and not all(part.isidentifier() for part in name.split('.')):
        raise ValueError(f'import must name Python modules or files, found {name!r}.')
    training_config.check_options('model', self.model, self.model_option)
    if self.frozen_layers and self.initial_model is None:
      raise ValueError(f'frozen_layers={self.frozen_layers} needs initial_model: layers that begin at random are worth '
                       'training.')
    compatibility.check(self)
