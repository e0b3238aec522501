"""Exports federated weights to Keras and SavedModel files, and compares them with the federated state."""

import dataclasses
import math
import os
import pathlib
import shutil
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import labels, tasks
from tff_vision.data import preprocess
from tff_vision.learning import evaluation
from tff_vision.program import final_state, json_file

# Two runtimes may sum in different orders; a wrong weight or a missing preprocessing step differs by far more.
_TOLERANCE = 1e-3
_PARITY_IMAGES = 100
# Of weights: two layers of them have products beyond float32.
_OVERFLOWS = 1e15


def export(task: tasks.Problem, weights: tff.learning.models.ModelWeights, folder: pathlib.Path,
           evaluator: evaluation.Evaluator) -> float:
  """Writes `model.keras`, `saved_model/`, `weights.npz` and `model.json` to `folder` atomically; replaces an older one.

  weights.npz holds the unchanged weights of the federated state, for `final_state.read_weights`.
  model.json names the task, the classes and the image shape; for tasks without classes it says what outputs mean. Both
  models take stored images, float32 [batch, height, width, channels] in the data set's pixel range, include the
  preprocessing, and return logits [batch, outputs].

  Args:
    evaluator: Gives the logits of the federated state.

  Returns:
    The largest difference between a file's logits and the federated state's over 100 images of `parity_images`; NaN
    if the model has diverged, so that there are no logits to compare.

  Raises:
    RuntimeError: The difference is above 1e-3 of the logits' scale.
  """
  model = task.keras_model()
  weights.assign_weights_to(model)
  weights.assign_weights_to(evaluator.model)
  whole = preprocess.with_preprocessing(model, task.images.preprocessing, task.images.spec)
  part = folder.with_name(folder.name + '.part')
  shutil.rmtree(part, ignore_errors=True)
  part.mkdir(parents=True)
  whole.save(part / 'model.keras')
  tf.saved_model.save(whole, str(part / 'saved_model'))
  final_state.write_weights(part, weights)
  json_file.write(part / 'model.json', {**facts(task), **yardstick(task, evaluator)})
  difference = _parity(part, task, weights, evaluator)
  if folder.exists():
    shutil.rmtree(folder)
  os.replace(part, folder)
  return difference


def facts(task: tasks.Problem) -> dict[str, Any]:
  """Returns what a user of the model must know about its images and outputs: the content of model.json.

  `frame` is the size of a whole image in pixels of the output, which is its centre if there is a crop. `seen` is the
  part of an image that a detector with a crop sees: top, left, bottom and right as shares of height and width.
  `volumes` says that images are volumes, [height, width, slices].
  """
  spec = task.images.spec
  frame = preprocess.input_shape(dataclasses.replace(task.images.preprocessing, crop=None), spec.shape)[:2]
  crops = spec.labels is labels.Kind.BOXES and task.images.preprocessing.crop is not None
  return {**({'frame': list(frame)} if spec.labels.is_spatial else {}),
          **({'seen': list(preprocess.seen(task.images.preprocessing, spec.shape))} if crops else {}),
          **({'volumes': True} if spec.labels is labels.Kind.VOLUME else {}), 'task': task.objective.task,
          'class_names': list(spec.class_names), 'multi_label': spec.multi_label, 'image_shape': list(spec.shape),
          **getattr(task.objective, 'facts', {}), **task.images.stored_pixels.facts()}


def yardstick(task: tasks.Task, evaluator: evaluation.Evaluator) -> dict[str, Any]:
  """Returns what the objective computes from the test set's outputs; empty if there is no test set."""
  test = task.images.test.examples
  return dict(task.objective.yardstick(evaluator.logits(test.x), test.y)) if len(test) else {}


def parity_images(task: tasks.Task) -> np.ndarray:
  """Returns up to 100 stored images for comparing files: test images, or random pixels if there are none."""
  test = task.images.test.examples
  return test.x[:_PARITY_IMAGES] if len(test) else task.images.spec.drawn(_PARITY_IMAGES)


def _parity(folder, task, weights, evaluator):
  stored = parity_images(task)
  expected = evaluator.logits(stored)
  if has_diverged(weights, expected):
    return math.nan
  images = stored.astype(np.float32)
  keras = tf.keras.models.load_model(folder / 'model.keras', compile=False)(images, training=False).numpy()
  served = tf.saved_model.load(str(folder / 'saved_model')).signatures['serving_default'](tf.constant(images))
  difference = max(float(np.abs(found - expected).max()) for found in (keras, *(v.numpy() for v in served.values())))
  check_difference(difference, float(np.abs(expected).max()), what='exported model')
  return difference


def has_diverged(weights: tff.learning.models.ModelWeights, logits: np.ndarray) -> bool:
  """Returns whether a model's training ended in numbers that are not finite, or so large that layers overflow.

  Files of such a model cannot be compared, because TensorFlow's kernels differ in what they make of NaN and infinity.
  """
  parts = [np.asarray(part) for part in tf.nest.flatten((weights.trainable, weights.non_trainable))]
  return not np.isfinite(logits).all() or not all((np.abs(part) < _OVERFLOWS).all() for part in parts)


def check_difference(difference: float, scale: float, *, what: str) -> None:
  """Refuses a file whose logits differ too much from those of the federated state.

  Args:
    difference: The largest difference.
    scale: The largest logit.
    what: The file, in words.

  Raises:
    RuntimeError: The difference is above 1e-3 of the scale.
  """
  if not difference <= _TOLERANCE * max(1.0, scale):
    raise RuntimeError(f'The {what} differs from the federated state by {difference:g} on test images.')
