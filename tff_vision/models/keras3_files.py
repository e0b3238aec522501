"""Reads models that Keras 3 has written: their layers are built anew with Keras 2, and their weights are copied.

Both formats are read, `.keras` and `.h5`. Layers that Keras 2 does not have, or whose options it does not know, are
refused by name; so are operations on tensors outside of layers (`keras.ops`) and Lambda layers, whose code is in the
file. Custom layers must be registered with Keras 2 (`custom.register`).
"""

import collections
import inspect
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import tensorflow as tf

_MODELS = ('Sequential', 'Functional', 'Model')
_TENSOR = '__keras_tensor__'
# Options of every layer, beside those of its class.
_COMMON = {'name', 'trainable', 'dtype', 'activity_regularizer'}
_RENAMED = {'LeakyReLU': {'negative_slope': 'alpha'}}
# What Keras 2 does without being told.
_DEFAULTS: Mapping[str, Sequence[Any]] = {'data_format': (None, 'channels_last')}
_MOST_WEIGHTS = 1 << 33


class Unreadable(ValueError):
  """Keras 2 has no such model; the message is the end of a sentence."""


def read(path: str) -> tf.keras.Model:
  """Returns the model in a file, with its weights.

  Raises:
    Unreadable: The file has something that Keras 2 does not have, or is broken.
  """
  try:
    if zipfile.is_zipfile(path):
      with zipfile.ZipFile(path) as archive:
        model = _layer(json.loads(archive.read('config.json')))
        if archive.getinfo('model.weights.h5').file_size > _MOST_WEIGHTS:
          raise Unreadable('its weights take more than 8 GB')
        with h5py.File(io.BytesIO(archive.read('model.weights.h5')), 'r') as weights:
          _fill(model, weights)
    else:
      with h5py.File(path, 'r') as file:
        model = _layer(json.loads(file.attrs['model_config']))
        _fill_by_names(model, file['model_weights'])
  except (OSError, KeyError, zipfile.BadZipFile, json.JSONDecodeError) as error:
    raise Unreadable(f'it is broken ({error})') from error
  return model


def _layer(described: Mapping[str, Any]) -> tf.keras.layers.Layer:
  """Builds a layer or a model from its description."""
  kind, config = described['class_name'], dict(described['config'])
  if kind == 'Sequential':
    return _sequential(config)
  if kind in _MODELS:
    return _functional(config)
  if kind == 'Lambda':
    raise Unreadable(f'its layer {config.get("name")} is a Lambda, whose code would be run from the file')
  if kind == 'InputLayer':
    shape = config.get('batch_shape') or config.get('batch_input_shape')
    return tf.keras.layers.InputLayer(batch_input_shape=tuple(shape), dtype=_policy(config.get('dtype')),
                                      name=config.get('name'))
  module = str(described.get('module') or '')
  own = module.split('.')[0] in ('', 'keras')
  found = getattr(tf.keras.layers, kind, None) if own else None
  if found is None:
    found = tf.keras.utils.get_custom_objects().get(described.get('registered_name') or kind) or (
        tf.keras.utils.get_custom_objects().get(kind))
  if found is None:
    what = f'uses keras.ops ({kind})' if '.ops.' in module else f'has a layer of the class {kind}'
    where = ', which Keras 2 does not have' if own else ', which is none of Keras\'s own: import=FILE.py defines it'
    raise Unreadable(f'it {what}{where}')
  return found(**_options(found, kind, config))


def _options(found, kind, config):
  """Returns the options of a layer as Keras 2 takes them."""
  known = set(_COMMON)
  for base in found.__mro__:
    if '__init__' in vars(base) and base is not tf.keras.layers.Layer:
      known |= {name for name, parameter in inspect.signature(base.__init__).parameters.items()
                if parameter.kind is not inspect.Parameter.VAR_KEYWORD}
  made = {}
  for name, value in config.items():
    name = _RENAMED.get(kind, {}).get(name, name)
    if name == 'dtype':
      made[name] = _policy(value)
    elif name in known:
      made[name] = _value(value)
    elif value not in (None, False) and value not in _DEFAULTS.get(name, ()):
      raise Unreadable(f'its layer {config.get("name")} ({kind}) has the option {name}={value!r}, which Keras 2 does '
                       'not have')
  return made


def _value(value):
  """Returns an option's value; layers in it are built."""
  if isinstance(value, Mapping) and 'class_name' in value and 'config' in value:
    if 'layers' in str(value.get('module')) or value['class_name'] in _MODELS:
      return _layer(value)
    if value['class_name'] == '__tuple__':
      return tuple(value['items'])
  return value


def _policy(dtype):
  """Returns the name of a type or of a mixed-precision policy."""
  name = dtype['config']['name'] if isinstance(dtype, Mapping) else dtype
  if isinstance(name, str) and '_from_' in name:
    raise Unreadable(f'it is quantised ({name})')
  return name


def _sequential(config):
  layers = [_layer(each) for each in config['layers']]
  model = tf.keras.Sequential(layers, name=config.get('name'))
  if not model.built and config.get('build_input_shape'):
    inputs = tf.keras.Input(batch_input_shape=tuple(config['build_input_shape']))
    model = tf.keras.Sequential([inputs, *layers], name=config.get('name'))
  model._described = config['layers']
  return _of_trainable(model, config)


def _functional(config):
  """Calls the layers of a model as its description says, each as soon as its inputs are there."""
  described = config['layers']
  layers = {each['config']['name']: _layer(each) for each in described}
  found: dict[tuple[str, int, int], Any] = {}
  waiting = [(each['config']['name'], number, node) for each in described
             for number, node in enumerate(each['inbound_nodes'])]
  for name, layer in layers.items():
    if isinstance(layer, tf.keras.layers.InputLayer):
      found[name, 0, 0] = layer.output
  while waiting:
    ready = [each for each in waiting if all(source in found for source in _sources(each[2]))]
    if not ready:
      raise Unreadable(f'its layer {waiting[0][0]} is connected in a way that cannot be followed')
    for name, number, node in ready:
      if not isinstance(layers[name], tf.keras.layers.InputLayer):
        outputs = layers[name](*_wired(node['args'], found), **_wired(_told(node['kwargs']), found))
        for place, output in enumerate(tf.nest.flatten(outputs)):
          found[name, number, place] = output
    waiting = [each for each in waiting if each not in ready]
  ends = [[found[_history(end)] for end in _listed(config[what])] for what in ('input_layers', 'output_layers')]
  inputs, outputs = (end[0] if len(end) == 1 else end for end in ends)
  model = tf.keras.Model(inputs, outputs, name=config.get('name'))
  model._described, model._built_layers = described, layers
  return _of_trainable(model, config)


def _of_trainable(model, config):
  if config.get('trainable') is False:
    model.trainable = False
  return model


def _listed(ends):
  """Returns the list of (layer, node, tensor) of inputs or outputs, which may be a single one or have names."""
  if isinstance(ends, Mapping):
    ends = list(ends.values())
  return [ends] if ends and isinstance(ends[0], str) else ends


def _history(end):
  name, node, place = end
  return name, int(node), int(place)


def _sources(node):
  if isinstance(node, Mapping) and node.get('class_name') == _TENSOR:
    yield _history(node['config']['keras_history'])
  elif isinstance(node, (Mapping, list, tuple)):
    for each in node.values() if isinstance(node, Mapping) else node:
      yield from _sources(each)


def _told(kwargs):
  """Returns the arguments of a call that are not those of Keras 3's own defaults."""
  return {name: value for name, value in kwargs.items() if value is not None and name != 'training'}


def _wired(node, found):
  """Returns arguments with the tensors that they stand for."""
  if isinstance(node, Mapping):
    if node.get('class_name') == _TENSOR:
      return found[_history(node['config']['keras_history'])]
    return {name: _wired(each, found) for name, each in node.items()}
  return [_wired(each, found) for each in node] if isinstance(node, (list, tuple)) else node


def _fill(layer, group, where=''):
  """Copies the weights of a layer and of the layers in it, which Keras 3 keeps by attribute and by class."""
  if 'vars' in group and len(group['vars']):
    own = [*layer._trainable_weights, *layer._non_trainable_weights]
    _assign(own, [group['vars'][str(place)][()] for place in range(len(group['vars']))], where or layer.name)
  if hasattr(layer, '_described'):
    for child, name in _children(layer):
      if name in group.get('layers', ()):
        _fill(child, group['layers'][name], child.name)
      elif child.weights:
        raise Unreadable(f'it has no weights for the layer {child.name}')
    return
  for name in group:
    child = next((getattr(layer, each) for each in (name, f'_{name}', name.lstrip('_')) if hasattr(layer, each)), None)
    if name != 'vars' and isinstance(child, tf.keras.layers.Layer):
      _fill(child, group[name], f'{where or layer.name}/{name}')


def _children(model):
  """Yields (layer, name in the file): the name of the class in snake case, numbered if there are several."""
  used = collections.Counter()
  built = getattr(model, '_built_layers', None)
  layers = iter(model.layers)
  for described in model._described:
    kind = described['class_name']
    name = re.sub(r'([a-z])([A-Z])', r'\1_\2', re.sub(r'(.)([A-Z][a-z]+)', r'\1_\2', re.sub(r'\W+', '', kind))).lower()
    number = used[name]
    used[name] += 1
    if kind == 'InputLayer':
      continue
    child = built[described['config']['name']] if built else next(layers)
    yield child, f'{name}_{number}' if number else name


def _fill_by_names(model, group):
  """Copies weights from the older format, which keeps those of each layer in one list."""
  layers = {layer.name: layer for layer in model.layers}
  names = [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs['layer_names']]
  for name in names:
    values = [group[name][weight][()] for weight in group[name].attrs['weight_names']]
    if values:
      if name not in layers:
        raise Unreadable(f'it has weights for a layer {name}, which it does not describe')
      _assign([*layers[name].trainable_weights, *layers[name].non_trainable_weights], values, name)


def _assign(variables, values, name):
  shapes = [[tuple(each.shape) for each in side] for side in (variables, values)]
  if shapes[0] != shapes[1]:
    raise Unreadable(f'its layer {name} has weights of the shapes {shapes[1]}, and Keras 2 makes {shapes[0]}')
  for variable, value in zip(variables, values, strict=True):
    variable.assign(np.asarray(value))
