"""Checks whether a Keras model can be trained by federated averaging."""

import tempfile
from collections.abc import Iterator, Sequence

import tensorflow as tf

from tff_vision import plugins
from tff_vision.models import keras_files, local_norm, personal_layers


def check(model: tf.keras.Model, *, input_shape: tuple[int, int, int], output_shape: tuple[int, ...],
          personal: Sequence[tf.keras.layers.Layer] = ()) -> None:
  """Refuses a model that cannot be trained over clients, or not honestly.

  BatchNorm is refused: its moving statistics are averages over clients' private batches that no aggregator bounds or
  protects, and under client heterogeneity they fit no client (Hsieh et al., ICML 2020). A frozen BatchNorm computes
  with its stored moments and is allowed, and so is one in `personal`, the layers that stay on each client, if
  `LocalBatchNormalization` can take its place there.

  Raises:
    ValueError: The message names the layer or the shape, and says what to do.
  """
  _check_known(model)
  for what, shape in (('takes', model.input_shape), ('returns', model.output_shape)):
    # Keras writes the shape of one tensor as a tuple of sizes, those of several as a list, a tuple or by names.
    if not isinstance(shape, tuple) or any(isinstance(side, tuple) for side in shape):
      parts = f'tensors by name ({", ".join(shape)})' if isinstance(shape, dict) else f'{len(shape)} tensors'
      raise ValueError(f'Model {model.name!r} {what} {parts}: make it as tf.keras.Model(inputs, outputs) of one tensor '
                       'each, the images and the outputs.')
  _check_batch_normalisations(model, personal)
  for layer in leaves(model):
    if keras_files.is_adapted(layer):
      raise ValueError(f'Layer {layer.name!r} of model {model.name!r} is a Normalization that was adapted to data, and '
                       'clients would build it before they have its mean and variance: give it these as arguments '
                       '(mean=, variance=).')
    if layer.compute_dtype in ('float16', 'bfloat16'):
      raise ValueError(f'Layer {layer.name!r} of model {model.name!r} computes in {layer.compute_dtype}; only float32 '
                       'is supported: make the model without a mixed precision policy.')
  for weight in model.trainable_weights:
    if weight.dtype != tf.float32:
      raise ValueError(f'Weight {weight.name!r} of model {model.name!r} is {weight.dtype.name}; only float32 is '
                       'supported.')
    if getattr(weight, 'constraint', None) is not None:
      raise ValueError(f'Weight {weight.name!r} of model {model.name!r} has a constraint '
                       f'({type(weight.constraint).__name__}), which the mean of clients\' updates would not keep: '
                       'save the model without it, freeze the layer, or use a regulariser.')
  if tuple(model.input_shape[1:]) != tuple(input_shape):
    raise ValueError(f'Model {model.name!r} takes images of {model.input_shape[1:]}, the data has {input_shape}.')
  found = tuple(model.output_shape[1:])
  if len(found) != len(output_shape) or None in found or any(
      needed not in (None, side) for side, needed in zip(found, output_shape, strict=True)):
    wanted = str(tuple(output_shape)).replace('None', 'any')
    raise ValueError(f'Model {model.name!r} returns {found}, the data needs {wanted}.')


def check_file(model: tf.keras.Model, name: str) -> None:
  """Refuses a model that Keras cannot read again from a file: a run would train it, and fail when it is exported.

  Args:
    name: The model, as the message names it.

  Raises:
    ValueError: The message says which class or layer, and what to do.
  """
  for layer in model.submodules:
    if isinstance(layer, tf.keras.layers.Lambda) and not isinstance(layer.get_config()['function'], str):
      raise ValueError(f'{name}: layer {layer.name!r} is a Lambda with Python code inside, which Keras does not read '
                       'from a file again: write it as a class of a layer.')
  with tempfile.TemporaryDirectory() as folder:
    try:
      model.save(f'{folder}/model.keras')
      tf.keras.models.load_model(f'{folder}/model.keras', compile=False)
    except Exception as error:  # Layers of a user may raise anything.
      raise ValueError(
          f'{name} cannot be saved as a Keras file and read again, as a run does at its end ({plugins.reason(error)}): '
          'register every class of your own by @tf.keras.utils.register_keras_serializable(), or name its file by '
          '--import=FILE.py, and let its get_config return the arguments of its __init__.') from error


def _check_known(model):
  """Refuses a model without weights or shapes until it is called: a subclass, or a Sequential without an Input."""
  try:
    known = model.inputs and model.outputs and model.input_shape and model.output_shape and model.weights is not None
  except (AttributeError, RuntimeError, ValueError):
    known = False
  if not known:
    first = ('begin it with tf.keras.Input(input_shape)' if isinstance(model, tf.keras.Sequential)
             else 'make it as tf.keras.Model(inputs, outputs), or as a Sequential that begins with tf.keras.Input')
    raise ValueError(f'Model {model.name!r} ({type(model).__name__}) does not know its input, so that it has no '
                     f'weights or shapes: {first}.')


def _check_batch_normalisations(model, personal):
  local = {id(layer) for layer in personal_layers.batch_normalisations(personal)}
  replaced = {id(layer) for layer in _cloned(model)}
  for layer in personal_layers.batch_normalisations([model]):
    if id(layer) not in local:
      raise ValueError(f'Layer {layer.name!r} of model {model.name!r} is a batch normalisation, which mixes and '
                       'leaks statistics across clients; use GroupNormalization instead (pipelines.convert_model puts '
                       'it in its place), keep the layer on each client (algorithm=fedbn), or freeze it.')
    why = local_norm.why_not_local(layer) or ('' if id(layer) in replaced else 'it lies within another layer')
    if why:
      raise ValueError(f'Layer {layer.name!r} of model {model.name!r} is a batch normalisation whose statistics would '
                       f'not move on a client: {why}. Use a plain BatchNormalization of the functional or sequential '
                       'model, GroupNormalization, or freeze it.')


def _cloned(model):
  """Yields the layers that `replayable` can replace: those of functional models and of such models nested in them."""
  if isinstance(model, tf.keras.Sequential) or model._is_graph_network:
    for layer in model.layers:
      yield from _cloned(layer) if isinstance(layer, tf.keras.Model) else [layer]


def leaves(model: tf.keras.Model) -> Iterator[tf.keras.layers.Layer]:
  """Yields the layers of a model and of the models nested in it."""
  for layer in model.layers:
    if isinstance(layer, tf.keras.Model):
      yield from leaves(layer)
    else:
      yield layer
