"""ONNX: conversion with tf2onnx, an optional install, and reading back with ONNX Runtime."""

import pathlib
from collections.abc import Callable

import numpy as np
from tensorflow.python.framework import convert_to_constants

from tff_vision import plugins
from tff_vision.export import serving

INSTALL = 'pip install --no-deps -r requirements-onnx.txt'
_PACKAGES = ('tf2onnx', 'onnx', 'onnxruntime')
_OPERATORS = 17  # The version of ONNX's operators that ONNX Runtime 1.13 (2022) and later run.
_INPUT = 'pixels'


def check() -> None:
  """Refuses the format if its packages are not installed.

  Raises:
    ValueError: With the command that installs them.
  """
  if missing := [name for name in _PACKAGES if not plugins.is_installed(name)]:
    raise ValueError(f'format=onnx needs {", ".join(missing)}, which is not installed: {INSTALL}.')


def convert(served: serving.ServedModel) -> bytes:
  """Returns the ONNX file: from `pixels`, stored images of a batch of any size above zero, to the answers by name.

  Raises:
    ValueError: The model has an operation that ONNX lacks.
  """
  import onnx  # Imported late: optional installs.
  import tf2onnx
  try:
    # Frozen here: tf2onnx takes constants that the model's layers hold for inputs that are missing.
    whole = served.classify_some.get_concrete_function(served.pixels())
    frozen = convert_to_constants.convert_variables_to_constants_v2(whole)
    model, _ = tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(), input_names=[one.name for one in frozen.inputs],
        output_names=[one.name for one in frozen.outputs], opset=_OPERATORS)
  except Exception as error:  # Each operation that cannot be converted raises errors of its own.
    raise ValueError(f'format=onnx: the model cannot be converted: {str(error).splitlines()[0][:300]}') from error
  names = sorted(whole.structured_outputs)  # TensorFlow flattens a mapping in the order of its keys.
  for answer, name in zip(model.graph.output, names, strict=True):
    model.graph.node.append(onnx.helper.make_node('Identity', [answer.name], [name]))
    answer.name = name
  (taken,) = model.graph.input
  for node in model.graph.node:
    node.input[:] = [_INPUT if one == taken.name else one for one in node.input]
  taken.name = _INPUT
  onnx.checker.check_model(model)
  return model.SerializeToString()


def outputs_fn(path: pathlib.Path, output: str) -> Callable[[np.ndarray], np.ndarray]:
  """Returns the function from stored images, float32, to the answer called `output` of the file at `path`."""
  import onnxruntime  # Imported late: an optional install.
  session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
  return lambda images: session.run([output], {_INPUT: images})[0]
