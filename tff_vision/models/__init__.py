"""Keras vision models, by name. Normalisation is GroupNorm or none: see `tff_vision.models.check`.

A builder takes `input_shape` (height, width, channels) and `num_classes`, and returns a Keras model of float32
logits [batch, num_classes].
"""

import functools
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tff_vision import catalogue, plugins
from tff_vision.configs import model_config
from tff_vision.models import custom

ModelBuilder = Callable[[tuple[int, int, int], int], tf.keras.Model]

MODELS: Mapping[str, ModelBuilder] = catalogue.Loaded('model')


def builder(config: model_config.ModelConfig) -> ModelBuilder:
  """Returns the function that a config names, contains or refers to, with its options. Model files are not read here.

  Raises:
    ValueError: A reference points to nothing, or the function has no such option.
  """
  import_modules(config)
  chosen = config.model
  if not plugins.is_own(chosen, MODELS):
    return MODELS[chosen]
  function = plugins.value_of(chosen, MODELS, field='model')
  if not callable(function):
    raise ValueError(f'model={plugins.shown(chosen)} must be a function (input_shape, num_classes) -> '
                     f'Keras model, found {type(function).__name__}.')
  if isinstance(function, tf.keras.Model):
    raise ValueError(f'model={plugins.shown(chosen)} is a model, but must be a function (input_shape, num_classes) -> '
                     'Keras model: every place of the run builds its own.')
  given = plugins.options(config.model_option, field='model_option')
  plugins.check_call(function, given, setting=f'model={plugins.shown(chosen)}',
                     positional=('input_shape', 'num_classes'))

  last: list[weakref.ref] = []  # The weights of the model that was built last, as far as they still exist.
  shapes: dict[Any, list[tuple]] = {}

  @functools.wraps(function)
  def build(input_shape, num_classes):
    name = plugins.name_of(function)
    try:
      made = function(input_shape, num_classes, **given)
    except Exception as error:
      raise ValueError(f'model={name} fails for input_shape={input_shape}, num_classes={num_classes} with '
                       f'{plugins.reason(error)}') from error
    if not isinstance(made, tf.keras.Model):
      raise ValueError(f'model={name} must return a tf.keras.Model, found {type(made).__name__}.')
    weights = made.weights if made.built else []
    before = {id(weight) for known in last if (weight := known()) is not None}
    if shared := [weight.name for weight in weights if id(weight) in before]:
      raise ValueError(f'model={name} returns the weights {", ".join(shared[:3])} of the model that it returned '
                       'before: make all layers within the function, because every place of the run builds its own.')
    found = [tuple(weight.shape) for weight in weights]
    if shapes.setdefault((tuple(input_shape), num_classes), found) != found:
      raise ValueError(f'model={name} returns another model each time that it is called, but every place of the run '
                       'needs the same.')
    last[:] = map(weakref.ref, weights)
    return made

  return build


def import_modules(config: model_config.ModelConfig) -> None:
  """Imports the modules that a config names, which register the user's own layers and losses.

  Raises:
    ValueError: A module cannot be imported.
  """
  for name in config.imports:
    if name.endswith('.py'):
      custom.register(name)
    else:
      custom.know(plugins.import_module(name, f'import={name}'))
