"""Models as TFLite files for phones and small devices, and the interpreter that checks them."""

import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tff_vision.program import serving


def convert(served: serving.ServedModel, *, calibration: np.ndarray | None = None) -> bytes:
  """Returns a TFLite model with the signature `serving_default`, in TFLite's own operations only.

  Args:
    served: The model.
    calibration: Images as they are stored, float32 [n, height, width, channels]: then weights and activations are
      8-bit integers, over the ranges that these images span; inputs and outputs stay float32. None keeps float32.

  Raises:
    ValueError: The model has an operation that TFLite lacks.
  """
  function = served.signatures()[serving.TENSORS]
  converter = tf.lite.TFLiteConverter.from_concrete_functions([function], served)
  if calibration is not None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.representative_dataset = lambda: _one_by_one(calibration)
  try:
    return converter.convert()
  except Exception as error:  # The converter raises a class of its own that TensorFlow does not export.
    raise ValueError(f'the model cannot be converted to TFLite: {str(error).splitlines()[0]}') from error


def _one_by_one(images) -> Iterator[list[np.ndarray]]:
  for image in images:
    yield [image[np.newaxis]]


def logits_fn(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """Returns a function from stored images, float32 [n, height, width, channels], to the file's logits."""
  interpreter = tf.lite.Interpreter(model_path=str(path), num_threads=1)
  run = interpreter.get_signature_runner(serving.TENSORS)
  return lambda images: run(pixels=images)['logits']
