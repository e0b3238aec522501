"""Which layers of a model stay on each client: by name, by pattern, or all that normalise.

Normalisation on each client: Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization",
ICLR 2021, arXiv:2102.07623.
"""

import dataclasses
import fnmatch
from collections.abc import Sequence

import tensorflow as tf

from tff_vision.models import local_norm

NONE, NORM = 'none', 'norm'
_KERAS = (local_norm.BATCH_NORMALIZATION, tf.keras.layers.LayerNormalization, tf.keras.layers.GroupNormalization)


@dataclasses.dataclass(frozen=True)
class Masks:
  """Which weights of a model belong to its personal layers.

  Attributes:
    trainable: One for each trainable weight.
    statistics: One for each other weight: whether it is a moving statistic of a personal batch normalisation.
  """
  trainable: Sequence[bool]
  statistics: Sequence[bool]


def masks(model: tf.keras.Model, layers: str) -> Masks:
  """Returns which of the model's weights are personal.

  Args:
    layers: Names and glob patterns separated by commas; `norm` stands for all normalisation layers; empty: the last
      layer that has weights; `none`: no layer.

  Raises:
    ValueError: No such layer with weights, or no weight would be shared.
  """
  found = chosen(model, layers)
  own = {weight.ref() for layer in found for weight in layer.trainable_weights}
  trainable = tuple(weight.ref() in own for weight in model.trainable_weights)
  if all(trainable):
    names = ', '.join(dict.fromkeys(layer.name for layer in found))
    said = f'personal_layers={layers}' if layers else 'personal_layers is not given, which'
    raise ValueError(f'{said} makes all layers with weights personal ({names}): nothing would be shared; name fewer, '
                     'or choose a model of more layers.')
  moving = {weight.ref() for layer in batch_normalisations(found) for weight in layer.non_trainable_weights}
  return Masks(trainable, tuple(weight.ref() in moving for weight in model.non_trainable_weights))


def chosen(model: tf.keras.Model, layers: str) -> Sequence[tf.keras.layers.Layer]:
  """Returns the personal layers; arguments and errors as of `masks`."""
  learning = [layer for layer in model.submodules if isinstance(layer, tf.keras.layers.Layer) and _learns(layer)]
  if layers == NONE:
    return []
  if not layers:
    return [[layer for layer in model.layers if _learns(layer)][-1]]
  found = []
  for pattern in (name.strip() for name in layers.split(',')):
    matching = [layer for layer in learning if fnmatch.fnmatchcase(layer.name, pattern) or (
        pattern == NORM and _normalises(layer))]
    if not matching:
      what = 'normalisation layer' if pattern == NORM else f'layer {pattern!r}'
      raise ValueError(f'personal_layers={layers!r}: the model has no {what} with weights; it has '
                       f'{", ".join(sorted({layer.name for layer in learning}))}.')
    found += matching
  return found


def batch_normalisations(layers: Sequence[tf.keras.layers.Layer]) -> Sequence[tf.keras.layers.Layer]:
  """Returns the batch normalisations that train, among layers and the layers nested in them."""
  every = [part for layer in layers for part in (layer, *layer.submodules)]
  return [part for part in every if isinstance(part, local_norm.BATCH_NORMALIZATION) and part.trainable]


def _learns(layer):
  """Returns whether training changes the layer; a batch normalisation has statistics even without weights."""
  return bool(layer.trainable_weights) or isinstance(layer, local_norm.BATCH_NORMALIZATION) and layer.trainable


def _normalises(layer):
  """Returns whether a layer normalises, by its class: Keras's own, one of the user's derived from it or named so.

  Of a layer with layers in it, as SpectralNormalization around a convolution, only those can.
  """
  named = isinstance(layer, _KERAS) or 'norm' in type(layer).__name__.lower()
  return named and not any(isinstance(part, tf.keras.layers.Layer) for part in layer.submodules)
