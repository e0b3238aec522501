"""A Keras file as model and initial weights, with a head for the data and optional frozen layers.

Frozen layers are not trained: clients' updates do not contain them, so nothing of them is clipped, noised or encrypted.
"""

import copy
import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision.models import check, keras_files

# TensorFlow operations that a model contains as layers.
_ACTIVATIONS = ('nn.softmax', 'math.sigmoid', 'nn.sigmoid', 'sigmoid')
_SCALINGS = ('math.truediv', 'math.divide', 'math.multiply')
_PROBES = 4
# Layers that objectives put on a builder's model.
IN_UNITS, THRESHOLDS, UNIT_LENGTH = 'in_units', 'thresholds', 'unit_length'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """The model read from a file.

  Attributes:
    config: Config of a functional Keras model.
    frozen: Names of layers that are not trained.
    weights: Arrays by layer; a new head, which starts with random weights, has none.
    notes: Sentences that say what was changed.
    rescales: Name of a first layer that scales pixels itself, or ''.
  """
  config: Mapping[str, Any]
  frozen: frozenset[str]
  weights: Mapping[str, Sequence[np.ndarray]]
  notes: Sequence[str]
  rescales: str = ''

  def build(self, input_shape: tuple[int, int, int], num_outputs: int) -> tf.keras.Model:
    """Returns the model with arbitrary weights. A model builder, for whose arguments the model was already fitted."""
    del input_shape, num_outputs
    # A copy, because some layers (MultiHeadAttention) take entries out of the config that they are made from.
    model = tf.keras.Model.from_config(copy.deepcopy(self.config))
    for layer in check.leaves(model):
      if layer.name in self.frozen:
        layer.trainable = False
    return model

  def start(self, model: tf.keras.Model) -> None:
    """Copies the file's weights into a model that `build` made."""
    for name, weights in self.weights.items():
      model.get_layer(name).set_weights(weights)


def load(path: str, *, frozen_layers: str, input_shape: tuple[int, int, int], num_outputs: int | None,
         output_shape: Sequence[int | None] | None = None, layers_from: str | None = None) -> Pretrained:
  """Reads a Keras file and fits it to the data.

  A final softmax or sigmoid is removed, since losses here take logits. If the number of outputs differs, the last layer
  with weights is replaced by a new dense layer, or by a 1x1 convolution. Of a model that `pipelines.train` exported,
  the inner model is used.

  Args:
    path: A `.keras` or `.h5` file.
    frozen_layers: Names or glob patterns of layers, separated by commas; a nested model's name means all its layers.
    input_shape: Shape of the data after preprocessing.
    num_outputs: Number of outputs that the data needs; None leaves the last layer unchanged.
    output_shape: Of outputs that are maps, [rows, columns, num_outputs]; None for rows or columns: any number.
    layers_from: Python file or module that defines the user's own layers.

  Raises:
    ValueError: The file is missing or unusable; the model takes other images; it returns probabilities, but not from a
      separate last layer; or a pattern matches no layer or leaves no layer to train.
  """
  model, mixed = keras_files.in_float32(_inner(keras_files.read(path, layers_from)))
  model = keras_files.with_constant_normalization(model)
  model = _at_shape(model, input_shape, path)
  notes = [f'The model is that of {path}.']
  model = _without_objective(model, notes)
  if mixed:
    notes.append('Its layers computed in 16 bits (mixed precision); here they compute in float32.')
  fresh = None
  if num_outputs is not None:
    if output_shape is not None and len(output_shape) == 3:
      wanted = (*_map_sides(model, output_shape, path), num_outputs)
    else:
      wanted = (num_outputs,)
    model, fresh = _with_outputs(model, wanted, notes, path)
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
  """Returns the functional model inside a model that takes stored pixels, or else the model itself as functional."""
  last = model.layers[-1]
  if model.name == 'with_preprocessing' and isinstance(last, tf.keras.Model):
    model = last
  # A sequential model's config has another form.
  return tf.keras.Model(model.inputs, model.outputs, name=model.name)


def _without_objective(model, notes):
  """Returns a model that was exported without what its run's objective put on top, since each run puts on its own."""
  names = {layer.name: layer for layer in model.layers}
  last = model.layers[-1]
  if last.name in (IN_UNITS, UNIT_LENGTH):
    outputs = last.input
  elif THRESHOLDS in names and _maker(names[THRESHOLDS].input).get_config().get('function') == 'ones_like':
    outputs, last = _maker(names[THRESHOLDS].input).input, names[THRESHOLDS]  # The score, above which they lie.
  else:
    return model
  notes.append(f'Its layer {last.name}, which belongs to the task of the run that exported it, was taken off.')
  return tf.keras.Model(model.inputs, outputs, name=model.name)


def _at_shape(model, input_shape, path):
  """Returns the model for images of `input_shape`, if it fits the sizes that the file leaves open."""
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


def _map_sides(model, output_shape, path):
  """Returns the rows and columns of a model's maps.

  Raises:
    ValueError: It returns no maps, or maps of another size than needed.
  """
  found = tuple(model.output_shape[1:])
  if len(found) != 3 or any(needed not in (None, side) for side, needed in zip(found[:2], output_shape[:2],
                                                                            strict=True)):
    needed = 'x'.join('any' if side is None else str(side) for side in output_shape[:2])
    raise ValueError(f'initial_model={path} returns {"x".join(map(str, found))} for an image of '
                     f'{"x".join(map(str, model.input_shape[1:3]))}; the task needs a model that returns maps, a '
                     f'vector for each of {needed} cells.')
  return found[:2]


def _with_outputs(model, output_shape, notes, path):
  """Returns the model with logits of `output_shape`, and the name of its new head or None.

  Raises:
    ValueError: Its outputs are no floats.
  """
  num_outputs, per_pixel = output_shape[-1], len(output_shape) == 3
  outputs = model.output
  while _only_activates(_maker(outputs)):
    notes.append(f'Its last layer {_maker(outputs).name} was taken off: training is on logits.')
    outputs = _maker(outputs).input
  head = outputs
  while isinstance(_maker(head), (tf.keras.layers.Flatten, tf.keras.layers.Reshape)):
    head = _maker(head).input
  layer = _maker(head)
  replaceable = isinstance(layer, tf.keras.layers.Dense) or isinstance(layer, tf.keras.layers.Conv2D) and (
      layer.kernel_size == (1, 1) if per_pixel else tuple(head.shape[1:3]) == (1, 1))
  if tuple(outputs.shape[1:]) == output_shape:
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
  if not features.dtype.is_floating:
    raise ValueError(f'initial_model={path} returns whole numbers ({features.dtype.name}), from which nothing can be '
                     f'learned: take its last layer {layer.name} off, and save it again.')
  # Keras's own names begin anew in each process, and may be those of the file's layers.
  name = _free(model, f'head_of_{num_outputs}')
  if features.shape.rank == 4 and not per_pixel:
    features = tf.keras.layers.GlobalAveragePooling2D(name=_free(model, 'pooled_' + name))(features)
  elif features.shape.rank != 2 and not per_pixel:
    features = tf.keras.layers.Flatten(name=_free(model, 'flat_' + name))(features)
  notes.append(f'Its last layer {layer.name} with {layer.output_shape[-1]} outputs gave way to a new one with '
               f'{num_outputs}, {name}.' if replaceable else
               f'A new layer with {num_outputs} outputs, {name}, was put on top.')
  made = (tf.keras.layers.Conv2D(num_outputs, 1, name=name) if per_pixel else
          tf.keras.layers.Dense(num_outputs, name=name))
  return tf.keras.Model(model.inputs, made(features), name=model.name), name


def _free(model, name):
  """Returns a name that no layer of the model has."""
  taken = {layer.name for layer in model.layers}
  return next(one for one in (name, *(f'{name}_{number}' for number in range(2, 2 + len(taken)))) if one not in taken)


def _only_activates(layer):
  """Whether a layer only turns logits into probabilities, as a Keras layer or as an operation."""
  return isinstance(layer, (tf.keras.layers.Activation, tf.keras.layers.Softmax)) or (
      layer.get_config().get('function') in _ACTIVATIONS)


def _refuse_probabilities(model, path):
  """Refuses a model whose outputs are probabilities for all images: its last layers contain a hidden activation.

  Raises:
    ValueError: The outputs are probabilities.
  """
  rng = np.random.default_rng(0)
  shape = (_PROBES, *model.input_shape[1:])
  probes = [rng.random(shape), 255 * rng.random(shape), rng.normal(0, 3, shape)]
  outputs = np.concatenate([model(x.astype(np.float32), training=False).numpy() for x in probes])
  if not np.isfinite(outputs).all() or outputs.min() < 0 or outputs.max() > 1 or not outputs.any():
    return
  total = 'sum to one' if np.allclose(outputs.sum(axis=-1), 1, atol=1e-3) else 'all lie in 0..1'
  raise ValueError(f'initial_model={path} returns probabilities: for any image its outputs {total}. Training is on '
                   'logits: take its last softmax or sigmoid off, and save it again.')


def _rescaling(model):
  """Returns the name of a layer that scales pixels before the first layer with trainable weights, or ''."""
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
  """Returns the model with newly made layers, so that their current settings take effect."""
  made = tf.keras.models.clone_model(model)
  made.set_weights(model.get_weights())
  return made


def _maker(tensor):
  return tensor.node.layer


def _frozen(model, patterns, notes):
  """Returns the names of the leaf layers that match `patterns`."""
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
  """Yields every layer, including nested models and their layers."""
  for layer in model.layers:
    yield layer
    if isinstance(layer, tf.keras.Model):
      yield from _named(layer)
