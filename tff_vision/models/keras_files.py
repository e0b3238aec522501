"""Reads Keras files into functional models, or refuses them with a sentence that says what to change."""

import json
import pathlib
import re
import zipfile

import tensorflow as tf

from tff_vision.models import custom, keras3_files

_LONGEST = 200
_POLICIES = ('Policy', 'PolicyV1', 'DTypePolicy')
_UNKNOWN = (re.compile(r"Could not locate class '([^']+)'"), re.compile(r"Unknown layer: '?([\w>]+)'?"),
            re.compile(r"Unknown \w+: '([^']+)'"))


def read(path: str, layers_from: str | None = None) -> tf.keras.Model:
  """Returns a functional model from a file.

  Args:
    path: A `.keras` or `.h5` file.
    layers_from: As in `custom.register`.

  Raises:
    ValueError: The file is missing, or does not contain such a model.
  """
  if not pathlib.Path(path).is_file():
    raise ValueError(f'there is no Keras file {path!r}.')
  version = saved_by(path)
  custom.register(layers_from)
  if version and version.split('.')[0].isdigit() and int(version.split('.')[0]) >= 3:
    model = _of_keras_3(path, version)
  else:
    try:
      model = tf.keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras can raise any exception on an unknown layer or a broken file.
      raise ValueError(_sentence(path, error, layers_from)) from None
  # A Sequential model is functional too, once its input is known.
  if not getattr(model, '_is_graph_network', False) or len(model.inputs) != 1 or len(model.outputs) != 1:
    raise ValueError(f'{path} holds no functional or sequential Keras model with one input and one output.')
  for layer in model.submodules:  # A .h5 file gives their code, which would run wherever the model is built.
    if isinstance(layer, tf.keras.layers.Lambda) and not isinstance(layer.get_config()['function'], str):
      raise ValueError(_of_lambda(path, f' {layer.name}'))
  return model


def _of_keras_3(path, version):
  try:
    return keras3_files.read(path)
  except Exception as error:  # Keras can raise any exception on options that it does not expect.
    said = str(error) if isinstance(error, keras3_files.Unreadable) else f'Keras 2 refuses it ({_first_line(error)})'
    raise ValueError(f'{path} was saved by Keras {version} and cannot be read by Keras 2: {said}. Where it was made, '
                     'build the same layers with the package tf_keras, which is Keras 2, give them model.get_weights() '
                     'by set_weights, and save that.') from None


def saved_by(path: str) -> str | None:
  """Returns the version of Keras that wrote a file, or None if the file does not say."""
  try:
    if zipfile.is_zipfile(path):
      with zipfile.ZipFile(path) as archive:
        return str(json.loads(archive.read('metadata.json'))['keras_version'])
    import h5py
    with h5py.File(path, 'r') as file:
      version = file.attrs.get('keras_version')
      return version.decode() if isinstance(version, bytes) else version
  except (OSError, KeyError, ValueError, TypeError):
    return None


def _sentence(path, error, layers_from):
  text = str(error)
  if 'Lambda layer' in text:
    return _of_lambda(path, '')
  found = [match.group(1).split('>')[-1] for pattern in _UNKNOWN if (match := pattern.search(text))]
  if found := [*found, *_foreign_classes(path)]:
    where = f'import={layers_from} does not define it' if layers_from else (
        'name the Python file that defines it: import=FILE.py')
    return f'{path} has a layer of the class {found[0]}, which is none of Keras\'s own; {where}.'
  return f'{path} cannot be loaded as a Keras model: {_first_line(error)}'


def _of_lambda(path, name):
  return (f'{path} has a Lambda layer{name} with Python code inside, which is not run from a file: write it as a class '
          'of a layer in a Python file, which import=FILE.py names, and save the model with that.')


def _first_line(error):
  text = str(error)
  first = text.splitlines()[0] if text else type(error).__name__
  return first if len(first) <= _LONGEST else first[:_LONGEST].rsplit(' ', 1)[0] + ' …'


def _foreign_classes(path):
  """Returns the classes in a .keras file that are not Keras's own and are not registered."""
  def walk(config):
    if isinstance(config, dict):
      name, registered = config.get('class_name'), config.get('registered_name')
      own = str(config.get('module')).split('.')[0] not in ('keras', 'tf_keras')
      if own and name and registered and tf.keras.utils.get_registered_object(registered) is None and (
          registered.split('>')[-1] not in tf.keras.utils.get_custom_objects()):
        yield name
      config = list(config.values())
    for part in config if isinstance(config, list) else ():
      yield from walk(part)
  try:
    with zipfile.ZipFile(path) as archive:
      return list(dict.fromkeys(walk(json.loads(archive.read('config.json')))))
  except (OSError, KeyError, ValueError, zipfile.BadZipFile):
    return []


def in_float32(model: tf.keras.Model) -> tuple[tf.keras.Model, bool]:
  """Returns a model whose layers compute in float32, and whether some of them computed in 16 bits before.

  Clients' gradients would underflow in 16 bits, since the loss is not scaled. Weights are float32 in both models.
  """
  config = model.get_config()
  changed = _without_mixing(config)
  if changed == config:
    return model, False
  made = tf.keras.Model.from_config(changed)
  made.set_weights(model.get_weights())
  return made, True


def with_constant_normalization(model: tf.keras.Model) -> tf.keras.Model:
  """Returns a model whose `Normalization` layers have mean and variance as constants, if some have them as weights.

  Keras reads such weights when it builds a layer, which in a client's graph is before they have their values.
  """
  adapted = [layer for layer in model.submodules if is_adapted(layer)]
  if not adapted:
    return model
  made = tf.keras.models.clone_model(model, clone_function=_with_constants)
  gone = {id(weight) for layer in adapted for weight in layer.weights}
  made.set_weights([weight.numpy() for weight in model.weights if id(weight) not in gone])
  return made


def is_adapted(layer: tf.Module) -> bool:
  """Returns whether a layer is a `Normalization` that has mean and variance as weights."""
  return isinstance(layer, tf.keras.layers.Normalization) and layer.input_mean is None


def _with_constants(layer):
  if isinstance(layer, tf.keras.Model):
    return tf.keras.models.clone_model(layer, clone_function=_with_constants)
  constants = {'mean': layer.adapt_mean.numpy().tolist(), 'variance': layer.adapt_variance.numpy().tolist()} if (
      is_adapted(layer)) else {}
  return type(layer).from_config(layer.get_config() | constants)


def _without_mixing(config):
  if isinstance(config, dict):
    if config.get('class_name') in _POLICIES and _mixes(config.get('config', {}).get('name')):
      return 'float32'
    return {key: 'float32' if key == 'dtype' and _mixes(value) else _without_mixing(value)
            for key, value in config.items()}
  if isinstance(config, (list, tuple)):
    return type(config)(map(_without_mixing, config))
  return config


def _mixes(name):
  return isinstance(name, str) and name.startswith('mixed_')
