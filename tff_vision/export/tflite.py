"""Exports TFLite files for phones and small devices, and checks them with the interpreter."""

import math
import pathlib
import re
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tff_vision.export import serving

_LONGEST = 200


def convert(served: serving.ServedModel, *, calibration: np.ndarray | None = None) -> bytes:
  """Returns a TFLite model with the signature `serving_default`; it uses only TFLite's built-in operations.

  Args:
    served: The model.
    calibration: Stored images, float32 [n, height, width, channels]. With them, weights and activations become 8-bit
      integers over the ranges that these images span; inputs and outputs stay float32. None keeps float32.

  Raises:
    ValueError: The model has an operation that TFLite lacks.
  """
  served = served.with_model(_four_axes(served.model))
  function = served.classify_some.get_concrete_function(served.pixels())
  converter = tf.lite.TFLiteConverter.from_concrete_functions([function], served)
  if calibration is not None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.representative_dataset = lambda: _one_by_one(calibration)
  try:
    return converter.convert()
  except Exception as error:  # The converter raises its own exception class, which TensorFlow does not export.
    raise ValueError(f'the model cannot be converted to TFLite: {_reason(str(error))} Leave tflite and tflite_int8 out '
                     'of --format.') from error


def _reason(message):
  """Returns one sentence from a compiler message that may be pages long."""
  if lacking := re.search(r'(?:Flex|Select|Custom|Error) ops: ([\w, ]+)', message):
    return f'TFLite has no {lacking.group(1).strip(" ,")}.'
  first = next(iter(message.splitlines()), 'the converter gives no reason')
  return (first if len(first) <= _LONGEST else first[:_LONGEST] + ' …').rstrip('.') + '.'


def _four_axes(model):
  """Returns the same model with a group normalisation that TFLite can compute for any batch size."""
  if not any(isinstance(part, tf.keras.layers.GroupNormalization) for part in model.submodules):
    return model
  made = tf.keras.models.clone_model(model, clone_function=_cloned)
  made.set_weights(model.get_weights())
  return made


def _cloned(layer):
  if isinstance(layer, tf.keras.Model):
    return tf.keras.models.clone_model(layer, clone_function=_cloned)
  kind = _FourAxes if type(layer) is tf.keras.layers.GroupNormalization else type(layer)
  return kind.from_config(layer.get_config())


class _FourAxes(tf.keras.layers.GroupNormalization):
  """Group normalisation in four axes. Keras uses five axes, [n, height, width, groups, channels].

  TFLite broadcasts five axes only if their sizes are known.
  """

  def call(self, inputs):
    if self.axis not in (-1, len(inputs.shape) - 1) or None in inputs.shape[1:]:
      return super().call(inputs)
    groups = (self.groups, inputs.shape[-1] // self.groups)
    x = tf.reshape(inputs, (-1, math.prod(inputs.shape[1:-1]), *groups))
    mean, variance = tf.nn.moments(x, (1, 3), keepdims=True)
    offset, scale = (None if weight is None else tf.reshape(weight, groups) for weight in (self.beta, self.gamma))
    x = tf.nn.batch_normalization(x, mean, variance, offset, scale, self.epsilon)
    return tf.reshape(x, (-1, *inputs.shape[1:]))


def _one_by_one(images) -> Iterator[list[np.ndarray]]:
  for image in images:
    yield [image[np.newaxis]]


def outputs_fn(path: pathlib.Path, name: str) -> Callable[[np.ndarray], np.ndarray]:
  """Returns a function from stored images, float32 [n, height, width, channels], to the file's answer called `name`.

  The function raises ValueError if TFLite knows the file's operations but cannot run them on this number of images.
  """
  interpreter = tf.lite.Interpreter(model_path=str(path), num_threads=1)
  run = interpreter.get_signature_runner(serving.TENSORS)

  def outputs(images):
    try:
      return run(pixels=images)[name]
    except RuntimeError as error:
      raise ValueError(f'TFLite cannot run the model on {len(images)} images: {str(error).splitlines()[0]} Leave '
                       'tflite and tflite_int8 out of --format.') from error
  return outputs
