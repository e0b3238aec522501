"""Imports custom Keras layers from a Python file."""

import importlib
import importlib.util
import inspect
import os
import pathlib
import sys
import types

import tensorflow as tf

_KINDS = (tf.keras.layers.Layer, tf.keras.constraints.Constraint, tf.keras.initializers.Initializer,
          tf.keras.regularizers.Regularizer)


def register(source: str | None) -> None:
  """Runs a Python file, or imports a module, and registers its layers and functions with Keras by their names.

  Args:
    source: `layers.py`, or a module's dotted name, also searched for in the working directory; None does nothing.

  Raises:
    ValueError: There is no such file or module, or it fails.
  """
  if source is None:
    return
  try:
    module = _from_file(source) if source.endswith('.py') else _from_name(source)
  except Exception as error:  # The user's own code may raise anything.
    first = next(iter(str(error).splitlines()), '')
    raise ValueError(f'import={source} fails: {type(error).__name__}: {first}') from None
  know(module)


def know(module: types.ModuleType) -> None:
  """Registers the layers and functions that a module defines with Keras by their names, unless a name is taken."""
  known = tf.keras.utils.get_custom_objects()
  for name, found in vars(module).items():
    if name.startswith('_') or getattr(found, '__module__', None) != module.__name__:
      continue
    if inspect.isfunction(found) or inspect.isclass(found) and issubclass(found, _KINDS):
      known.setdefault(name, found)


def _from_file(path):
  if not pathlib.Path(path).is_file():
    raise ValueError('there is no such file')
  name = f'layers_of_{pathlib.Path(path).stem}'
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  spec.loader.exec_module(module)
  return module


def _from_name(name):
  if os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())
  return importlib.import_module(name)
