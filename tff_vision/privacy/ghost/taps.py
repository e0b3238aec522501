"""Taps on the layers of a Keras model: what went into each layer and what came out, on one forward pass.

While a model is tapped, the `call` of each layer that owns weights is replaced on the instance. `Layer.__call__` uses
the replacement, so Sequential, Functional, nested and subclassed models work alike, with the model's own weights. There
is no second forward pass, which could differ from the first (with Dropout it would, and that would void the clipping).
"""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator

import tensorflow as tf


class UnsupportedError(ValueError):
  """The model cannot be tapped; its examples must be differentiated one by one."""


@dataclasses.dataclass(frozen=True)
class Tap:
  """One use of one layer.

  Attributes:
    layer: The layer that owns the weights.
    inputs: [batch, ...].
    outputs: [batch, ...]; before the activation for layers whose activation is recorded separately.
    normalized: Output before scale and shift; normalisation layers only.
    recompute: inputs -> outputs, in training mode as in the recorded call.
    copies: Number of consecutive rows that are one example.
  """
  layer: tf.keras.layers.Layer
  inputs: tf.Tensor
  outputs: tf.Tensor
  normalized: tf.Tensor | None
  recompute: Callable[[tf.Tensor], tf.Tensor]
  copies: int = 1


_LINEAR_THEN_ACTIVATION = (tf.keras.layers.Dense, tf.keras.layers.Conv2D, tf.keras.layers.Conv2DTranspose,
                           tf.keras.layers.DepthwiseConv2D, tf.keras.layers.EinsumDense)
NORMALIZATIONS = (tf.keras.layers.GroupNormalization, tf.keras.layers.LayerNormalization)


def refuse_mixing(model: tf.keras.Model) -> None:
  """Raises ValueError if a layer's output for one example depends on the others of its batch."""
  for layer in model._flatten_layers(include_self=False, recursive=True):
    if isinstance(layer, tf.keras.layers.BatchNormalization) and layer.trainable:
      raise ValueError(f'layer {layer.name} normalises over the batch: one example then moves every gradient and no '
                       'clip bounds its influence; use GroupNormalization.')


def weighted_layers(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
  """Returns the layers that own trainable weights.

  Raises:
    UnsupportedError: Some weights belong to no such layer, or a layer owns weights and also holds layers with weights.
  """
  layers = [layer for layer in model._flatten_layers(include_self=False, recursive=True) if own_weights(layer)]
  for layer in layers:
    if any(own_weights(inner) for inner in layer._flatten_layers(include_self=False, recursive=True)):
      raise UnsupportedError(f'layer {layer.name} owns weights beside those of its inner layers')
  owned = [weight.ref() for layer in layers for weight in own_weights(layer)]
  if len(owned) > len(set(owned)):
    raise UnsupportedError('two layers own the same weight: the norms of its uses do not add up')
  if set(owned) != {weight.ref() for weight in model.trainable_variables}:
    raise UnsupportedError('the model owns weights outside of its layers')
  return layers


def own_weights(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
  """Returns the trainable weights of `layer` itself, without those of inner layers."""
  return [weight for weight in layer._trainable_weights if layer.trainable]


@contextlib.contextmanager
def tapped(model: tf.keras.Model) -> Iterator[list[Tap]]:
  """Records a `Tap` for each use of a weighted layer while the block runs, in order of use.

  Raises:
    UnsupportedError: As in `weighted_layers`, or a layer takes options of its own. Also raised at the block's end, if a
      layer was used twice or took several inputs.
  """
  taps: list[Tap] = []
  problems: list[str] = []
  layers = weighted_layers(model)
  for layer in layers:
    if more := _options(layer.call) - {'training', 'mask'}:
      raise UnsupportedError(f'layer {layer.name} takes more than one input: {", ".join(sorted(more))}')
  own_calls = [(layer, layer.__dict__['call']) for layer in layers if 'call' in layer.__dict__]
  try:
    for layer in layers:
      layer.__dict__['call'] = _recording(layer, layer.call, taps, problems)
    yield taps
    # Raised here and not in the layer, where Keras and AutoGraph would wrap the error.
    if problems:
      raise UnsupportedError(problems[0])
  finally:
    for layer in layers:
      layer.__dict__.pop('call', None)
    for layer, own in own_calls:
      layer.__dict__['call'] = own


def _recording(layer, original, taps, problems):
  accepted = _options(original)

  def call(inputs, *others, training=None, mask=None):
    options = {name: value for name, value in (('training', training), ('mask', mask)) if name in accepted}
    if others or not tf.is_tensor(inputs):
      problems.append(f'layer {layer.name} takes more than one input')
      return original(inputs, *others, **options)
    if any(tap.layer is layer for tap in taps):
      problems.append(f'layer {layer.name} is used twice: the norms of its uses do not add up')

    def recompute(values):
      return original(values, **options)

    # The type must match exactly, because a subclass may compute anything.
    if type(layer) in _LINEAR_THEN_ACTIVATION:
      return _record_activated(layer, inputs, recompute, taps)
    if type(layer) in NORMALIZATIONS and _axes(layer, inputs.shape.rank) == [inputs.shape.rank - 1]:
      return _record_normalization(layer, inputs, recompute, taps)
    return _record_plain(layer, inputs, recompute, taps)

  return call


def _options(call):
  """Returns the names of the parameters of `call` other than its inputs."""
  return set(list(inspect.signature(call).parameters)[1:])


def _axes(layer, rank):
  axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
  return [axis % rank for axis in axes]


def _record_plain(layer, inputs, recompute, taps):
  outputs = recompute(inputs)
  taps.append(Tap(layer, inputs, outputs, None, recompute))
  return outputs


def _record_activated(layer, inputs, recompute, taps):
  activation = layer.activation or tf.keras.activations.linear

  def linear(values):
    with _attributes(layer, {'activation': tf.keras.activations.linear}):
      return recompute(values)

  outputs = linear(inputs)
  taps.append(Tap(layer, inputs, outputs, None, linear))
  return activation(outputs)


def _record_normalization(layer, inputs, recompute, taps):
  with _attributes(layer, {'gamma': None, 'beta': None, 'scale': False, 'center': False}):
    normalized = recompute(inputs)
  outputs = normalized
  if layer.scale:
    outputs = outputs * layer.gamma
  if layer.center:
    outputs = outputs + layer.beta
  taps.append(Tap(layer, inputs, outputs, normalized, recompute))
  return outputs


@contextlib.contextmanager
def _attributes(layer, changed):
  """Swaps instance attributes without Keras noticing, because Keras would reorder the layer's weights."""
  kept = {name: layer.__dict__[name] for name in changed}
  layer.__dict__.update(changed)
  try:
    yield
  finally:
    layer.__dict__.update(kept)
