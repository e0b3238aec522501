"""A Keras file as model and initial weights, with a head for the data and optional frozen layers.

Frozen layers are not trained: clients' updates do not hold them, and nothing of theirs is clipped, noised or encrypted.
"""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision.models import check, keras_files

# Of TensorFlow's operations as layers.
_ACTIVATIONS = ('nn.softmax', 'math.sigmoid', 'nn.sigmoid', 'sigmoid')
_SCALINGS = ('math.truediv', 'math.divide', 'math.multiply')
_PROBES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """What a file gives.

  Attributes:
    config: Of a functional Keras model.
    frozen: Names of layers that are not trained.
    weights: Arrays by layer; a new head, which begins at random, has none.
    notes: Sentences that say what was changed.
    rescales: Name of a first layer that scales pixels itself, or ''.
  """
  config: Mapping[str, Any]
  frozen: frozenset[str]
  weights: Mapping[str, Sequence[np.ndarray]]
  notes: Sequence[str]
  rescales: str = ''

  def build(self, input_shape: tuple[int, int, int], num_outputs: int) -> tf.keras.Model:
    """Returns the model with arbitrary weights; a model builder, whose arguments the file's model was fitted to."""
    del input_shape, num_outputs
    model = tf.keras.Model.from_config(self.config)
    for layer in check.leaves(model):
      if layer.name in self.frozen:
        layer.trainable = False
    return model

  def start(self, model: tf.keras.Model) -> None:
    """Puts the file's weights into a model that `build` made."""
    for name, weights in self.weights.items():
      model.get_layer(name).set_weights(weights)


def load(path: str, *, frozen_layers: str, input_shape: tuple[int, int, int], num_outputs: int | None,
         layers_from: str | None = None) -> Pretrained:
  """Reads a Keras file and fits it to the data.

  A last softmax or sigmoid is taken off, since losses here are of logits. If the number of outputs differs, the last
  layer with weights gives way to a new dense one. The inner model is taken of one that `pipelines.train` exported.

  Args:
    path: A `.keras` or `.h5` file.
    frozen_layers: Names or glob patterns of layers, separated by commas; a nested model's name stands for all in it.
    input_shape: Of the data, after preprocessing.
    num_outputs: That the data needs; None leaves the last layer alone.
    layers_from: Python file or module that defines layers of the user's own.

  Raises:
    ValueError: The file is missing or unusable, takes other images, returns probabilities from what is no last layer
      of its own, or a pattern fits no layer or leaves none.
  """
  model, mixed = keras_files.in_float32(_inner(keras_files.read(path, layers_from)))
  model = _at_shape(model, input_shape, path)
  notes = [f'The model is that of {path}.']
  if mixed:
    notes.append('Its layers computed in 16 bits (mixed precision); here they compute in float32.')
  fresh = None
  if num_outputs is not None:
    model, fresh = _with_outputs(model, num_outputs, notes)
    if fresh is None:
      _refuse_probabilities(model, path)
  frozen = _frozen(model, frozen_layers, notes) - {fresh}
  fitted = Pretrained(config=model.get_config(), frozen=frozenset(frozen), weights={}, notes=tuple(notes),
                      rescales=_rescaling(model))
  if not fitted.build(input_shape, num_outputs or 0).trainable_weights:
    raise ValueError(f'frozen_layers={frozen_layers} leaves nothing of {path} to train.')
  return dataclasses.replace(
      fitted, weights={layer.name: layer.get_weights() for layer in model.layers if layer.name != fresh})


def _inner(model):
  """Returns the functional model inside of one that takes stored pixels, or the model itself as one."""
  last = model.layers[-1]
  if model.name == 'with_preprocessing' and isinstance(last, tf.keras.Model):
    model = last
  # A sequential model's config is of another kind.
  return tf.keras.Model(model.inputs, model.outputs, name=model.name)


def _at_shape(model, input_shape, path):
  """Returns the model for images of `input_shape`, which sizes that the file leaves open admit."""
  found = model.input_shape[1:]
  if len(found) == 3 and all(size in (None, wanted) for size, wanted in zip(found, input_shape, strict=True)):
    if found == tuple(input_shape):
      return model
    images = tf.keras.layers.Input(input_shape)
    made = tf.keras.models.clone_model(model, input_tensors=images)
    made.set_weights(model.get_weights())
    return made
  height, width, channels = (*found, None, None, None)[:3]
  raise ValueError(f'initial_model={path} takes images of {height}x{width}x{channels}, the data has '
                   f'{"x".join(map(str, input_shape))}; image_size and image_channels change that.')


def _with_outputs(model, num_outputs, notes):
  """Returns the model with `num_outputs` logits, and the name of its new head or None."""
  outputs = model.output
  while _only_activates(_maker(outputs)):
    notes.append(f'Its last layer {_maker(outputs).name} was taken off: training is on logits.')
    outputs = _maker(outputs).input
  head = outputs
  while isinstance(_maker(head), (tf.keras.layers.Flatten, tf.keras.layers.Reshape)):
    head = _maker(head).input
  layer = _maker(head)
  replaceable = isinstance(layer, tf.keras.layers.Dense) or (
      isinstance(layer, tf.keras.layers.Conv2D) and tuple(head.shape[1:3]) == (1, 1))
  if tuple(outputs.shape[1:]) == (num_outputs,):
    linear = tf.keras.activations.linear
    if outputs is not model.output:
      model = tf.keras.Model(model.inputs, outputs, name=model.name)
    if replaceable and layer.activation is not linear:
      notes.append(f'The activation {layer.activation.__name__} of its last layer {layer.name} was taken off: training '
                   'is on logits.')
      layer.activation = linear
      model = _copy(model)
    return model, None
  features = layer.input if replaceable else outputs
  if features.shape.rank == 4:
    features = tf.keras.layers.GlobalAveragePooling2D()(features)
  elif features.shape.rank != 2:
    features = tf.keras.layers.Flatten()(features)
  name = f'head_of_{num_outputs}'
  notes.append(f'Its last layer {layer.name} with {layer.output_shape[-1]} outputs gave way to a new one with '
               f'{num_outputs}, {name}.' if replaceable else
               f'A new layer with {num_outputs} outputs, {name}, was put on top.')
  return tf.keras.Model(model.inputs, tf.keras.layers.Dense(num_outputs, name=name)(features), name=model.name), name


def _only_activates(layer):
  """Whether a layer turns logits into probabilities, as a layer or as an operation."""
  return isinstance(layer, (tf.keras.layers.Activation, tf.keras.layers.Softmax)) or (
      layer.get_config().get('function') in _ACTIVATIONS)


def _refuse_probabilities(model, path):
  """Refuses a model whose outputs are probabilities whatever the images are: its last layers hide an activation.

  Raises:
    ValueError: They are.
  """
  rng = np.random.default_rng(0)
  shape = (_PROBES, *model.input_shape[1:])
  probes = [rng.random(shape), 255 * rng.random(shape), rng.normal(0, 3, shape)]
  outputs = np.concatenate([model(x.astype(np.float32), training=False).numpy() for x in probes])
  if not np.isfinite(outputs).all() or outputs.min() < 0 or outputs.max() > 1 or not outputs.any():
    return
  total = 'sum to one' if np.allclose(outputs.sum(axis=1), 1, atol=1e-3) else 'all lie in 0..1'
  raise ValueError(f'initial_model={path} returns probabilities: for any image its outputs {total}. Training is on '
                   'logits: take its last softmax or sigmoid off, and save it again.')


def _rescaling(model):
  """Returns the name of a layer that scales pixels before any layer with weights to train sees them, or ''."""
  for layer in model.layers:
    if isinstance(layer, tf.keras.Model):
      return _rescaling(layer)
    if isinstance(layer, tf.keras.layers.Rescaling) and np.ndim(layer.scale) == 0 and layer.scale != 1:
      return layer.name
    if isinstance(layer, tf.keras.layers.Normalization) or layer.get_config().get('function') in _SCALINGS:
      return layer.name
    if layer.weights:
      return ''
  return ''


def _copy(model):
  """Returns the model with layers made anew, so that their settings as they are now take effect."""
  made = tf.keras.models.clone_model(model)
  made.set_weights(model.get_weights())
  return made


def _maker(tensor):
  return tensor.node.layer


def _frozen(model, patterns, notes):
  """Returns the names of the leaves that `patterns` stand for."""
  found = set()
  for pattern in filter(None, (part.strip() for part in patterns.split(','))):
    chosen = {leaf.name for layer in _named(model) if fnmatch.fnmatchcase(layer.name, pattern)
              for leaf in (check.leaves(layer) if isinstance(layer, tf.keras.Model) else (layer,))}
    if not chosen:
      names = [layer.name for layer in _named(model) if layer.weights]
      listed = ', '.join(names[:12]) + (f', … ({len(names)})' if len(names) > 12 else '')
      raise ValueError(f'frozen_layers: no layer is called {pattern!r}; layers with weights are {listed}.')
    found |= chosen
  if found:
    weighted = [leaf.count_params() for leaf in check.leaves(model) if leaf.name in found and leaf.weights]
    notes.append(f'{len(weighted)} layers with {sum(weighted):,} parameters are frozen.')
  return found


def _named(model):
  """Yields every layer, nested models and what is in them included."""
  for layer in model.layers:
    yield layer
    if isinstance(layer, tf.keras.Model):
      yield from _named(layer)
