"""Calls the methods of an algorithm, and says in one sentence where what they return breaks the contract.

Without this, a user's mistake is an error of TensorFlow or TFF far from it, or goes unnoticed: a `share` that is not
declared would be zero, and a state that is not declared would be lost.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import plugins
from tff_vision.learning import algorithm as algorithm_lib


def check_declared(algorithm: algorithm_lib.Algorithm) -> None:
  """Refuses an algorithm with a method that nobody would call, because an attribute does not announce it.

  Raises:
    ValueError: With the attribute.
  """
  for attribute, method in {'shows': 'shown', 'personal': 'own_model'}.items():
    own = getattr(type(algorithm), method) is not getattr(algorithm_lib.Algorithm, method)
    if own and not getattr(algorithm, attribute):
      name = type(algorithm).__name__
      raise ValueError(f'{name}.{method} would have no effect, because {name}.{attribute} is not True.')


def work(algorithm: algorithm_lib.Algorithm, client: algorithm_lib.Client) -> algorithm_lib.Work:
  """Returns what `algorithm.work` returns for a client; runs while TFF traces the client's computation.

  Raises:
    ValueError: It fails, or returns something else than a `Work` of the declared kind.
  """
  name = f'{type(algorithm).__name__}.work'
  found = _called(algorithm, name, algorithm.work, client)
  if not isinstance(found, algorithm_lib.Work):
    raise ValueError(f'{name} must return a tff_vision.Work, found {type(found).__name__}.')
  for part in tf.nest.flatten(found.sent):
    if not tf.is_tensor(part) or part.dtype != tf.float32:
      raise ValueError(f'{name} must send float32 tensors, found {_shown(part)}.')
  if not algorithm.keeps:
    if found.kept is not None:
      raise ValueError(f'{name} returns kept, which is lost unless {type(algorithm).__name__}.keeps is True.')
    return found
  if differing := _difference(found.kept, client.brought):
    raise ValueError(f'{name} must return as kept what brings describes: {differing}.')
  return dataclasses.replace(found, kept=formed(found.kept, client.brought))


def step(algorithm: algorithm_lib.Algorithm, server: Any, mean: Any, share: tf.Tensor, weights: algorithm_lib.Tensors
         ) -> tuple[Any, Sequence[tf.Tensor]]:
  """Returns what `algorithm.step` returns; runs while TFF traces the server's computation.

  Raises:
    ValueError: It fails, reads a share that is not declared, or returns something else than a state like `server` and a
      gradient like `weights`.
  """
  name = f'{type(algorithm).__name__}.step'
  found = _called(algorithm, name, algorithm.step, server, mean, share, weights)
  if not isinstance(found, tuple) or len(found) != 2:
    raise ValueError(f'{name} must return (the next state, the gradient), found {_shown(found)}.')
  own, gradient = found
  if not algorithm.reads_share and not tf.executing_eagerly() and share.consumers():
    raise ValueError(f'{name} reads share, which is 0 unless {type(algorithm).__name__}.reads_share is True.')
  if differing := _difference(own, server):
    raise ValueError(f'{name} must return the next state in the form of server_state: {differing}.')
  if tf.is_tensor(gradient) or (differing := _difference(list(gradient), list(weights))):
    raise ValueError(f'{name} must return a gradient like the weights, a list: '
                     f'{"found one tensor" if tf.is_tensor(gradient) else differing}.')
  return formed(own, server), gradient


def formed(found: Any, wanted: Any) -> Any:
  """Returns a state in the form of another: a dictionary's order of keys, and a number's type, are part of the form."""
  return tf.nest.pack_sequence_as(wanted, [tf.convert_to_tensor(part, like.dtype) for part, like in zip(
      tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True)])


def server_state(algorithm: algorithm_lib.Algorithm, weights: algorithm_lib.Tensors) -> Any:
  """Returns what `algorithm.server_state` returns.

  Raises:
    ValueError: It fails, or returns something that is no tensor.
  """
  name = f'{type(algorithm).__name__}.server_state'
  found = _called(algorithm, name, algorithm.server_state, weights)
  for part in tf.nest.flatten(found):
    if part is None:
      raise ValueError(f'{name} must return tensors or (), found {_shown(part)}.')
  # TFF traces no tensors that were made outside of its graph, such as attributes of the algorithm.
  return tf.nest.map_structure(lambda part: part.numpy() if hasattr(part, 'numpy') else part, found)


def shown(algorithm: algorithm_lib.Algorithm, server: Any) -> Any:
  """Returns what `algorithm.shown` returns.

  Raises:
    ValueError: It fails.
  """
  return _called(algorithm, f'{type(algorithm).__name__}.shown', algorithm.shown, server)


def brings(algorithm: algorithm_lib.Algorithm, weights: algorithm_lib.Tensors) -> Any:
  """Returns what `algorithm.brings` returns, with tuples for lists and ordered dictionaries for others.

  A client's data holds it, and `tf.data` takes a list for one tensor and the order of a dictionary for unknown.

  Raises:
    ValueError: It fails, or clients keep a state that it does not describe, or that is no numbers.
  """
  name = f'{type(algorithm).__name__}.brings'
  found = _called(algorithm, name, algorithm.brings, weights)
  if found is None:
    if algorithm.keeps:
      raise ValueError(f'{name} must return the state that a client keeps before its first round, because keeps is '
                       'True.')
    return None
  parts = tf.nest.flatten(found)
  for part in parts:
    if np.asarray(part).dtype.kind not in 'biuf':
      raise ValueError(f'{name} must describe a state of numbers, found {_shown(part)}.')
  if not parts:
    raise ValueError(f'{name} must describe a state of one number or more, found none; without a state, set keeps to '
                     'False.')
  return _settled(found, name)


def check_optimizer(side: str, optimizer: Any, weights_type: tff.StructType) -> None:
  """Refuses an optimizer of one's own that cannot make one step from zeros; a built-in name is not looked at.

  Args:
    side: `client` or `server`.
    weights_type: The type of the model's weights.

  Raises:
    ValueError: It fails, or returns another state than `initialize`, or other weights.
  """
  if isinstance(optimizer, str):
    return
  name = f'{side}_optimizer={plugins.name_of(optimizer)}'
  specs = tuple(tff.types.type_to_tf_tensor_specs(weights_type).trainable)
  zeros = tuple(tf.zeros(spec.shape, spec.dtype) for spec in specs)
  try:
    first = optimizer.initialize(specs)
    state, stepped = optimizer.next(first, zeros, zeros)
  except Exception as error:
    raise ValueError(f'{name} fails with {plugins.reason(error)}') from error
  if differing := _difference(state, tf.nest.map_structure(tf.convert_to_tensor, first)):
    raise ValueError(f'{name} must return from next a state like that of initialize: {differing}.')
  if differing := _difference(stepped, zeros):
    raise ValueError(f'{name} must return from next weights like those that it gets: {differing}.')


def _settled(value, name):
  if hasattr(value, '_fields'):
    raise ValueError(f'{name} must describe a state in tuples, lists and dictionaries, found {type(value).__name__}.')
  if isinstance(value, Mapping):
    return collections.OrderedDict((key, _settled(part, name)) for key, part in value.items())
  return tuple(_settled(part, name) for part in value) if isinstance(value, (list, tuple)) else value


def _called(algorithm, name, method, *arguments):
  try:
    return method(*arguments)
  except Exception as error:
    if type(algorithm).__module__.partition('.')[0] == 'tff_vision':
      raise  # Built-in algorithms refuse settings by sentences of their own.
    raise ValueError(f'{name} fails with {plugins.reason(error)}') from error


def _difference(found, wanted):
  """Returns how tensors differ from others in number, shape or type; empty if they do not."""
  found, wanted = tf.nest.flatten(found), tf.nest.flatten(wanted)
  if len(found) != len(wanted):
    return f'found {len(found)} tensors in place of {len(wanted)}'
  for one, other in zip(found, wanted, strict=True):
    if one is None or not tf.is_tensor(one) and not hasattr(one, 'dtype') and not isinstance(one, (int, float)):
      return f'found {_shown(one)} in place of {_shown(other)}'
    if not hasattr(one, 'dtype') and (other.shape.rank or isinstance(one, float) and not other.dtype.is_floating):
      return f'found {_shown(one)} in place of {_shown(other)}'
    if hasattr(one, 'dtype') and (tf.as_dtype(one.dtype) != tf.as_dtype(other.dtype)
                                  or not tf.TensorShape(one.shape).is_compatible_with(other.shape)):
      return f'found {_shown(one)} in place of {_shown(other)}'
  return ''


def _shown(value):
  return f'{tf.as_dtype(value.dtype).name}{value.shape}' if hasattr(value, 'dtype') else type(value).__name__
