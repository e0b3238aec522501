"""From federated weights to Keras and SavedModel files, compared with the federated state before they count."""

import dataclasses
import os
import pathlib
import shutil
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import tasks
from tff_vision.data import preprocess
from tff_vision.learning import evaluation
from tff_vision.program import final_state, json_file

# Two runtimes may sum in another order; a wrong weight or a lost preprocessing step is far above this.
_TOLERANCE = 1e-3
_PARITY_IMAGES = 100


def export(task: tasks.Task, weights: tff.learning.models.ModelWeights, folder: pathlib.Path,
           evaluator: evaluation.Evaluator) -> float:
  """Writes `model.keras`, `saved_model/`, `weights.npz` and `model.json` to `folder`, at once, replacing an older one.

  weights.npz holds the federated state's weights as they are, for `final_state.read_weights`.
  model.json names the task, the classes and the image shape; for tasks without classes it says what outputs mean. Both
  models take images as they are stored, float32 [batch, height, width, channels] in the data set's pixel range, carry
  the preprocessing, and return logits [batch, outputs].

  Args:
    evaluator: Gives the federated state's own logits.

  Returns:
    The largest difference between a file's logits and the federated state's over 100 test images.

  Raises:
    RuntimeError: The difference is above 1e-3 of the logits' scale.
  """
  model = task.keras_model()
  weights.assign_weights_to(model)
  weights.assign_weights_to(evaluator.model)
  whole = preprocess.with_preprocessing(model, task.images.preprocessing, task.images.test.examples)
  part = folder.with_name(folder.name + '.part')
  shutil.rmtree(part, ignore_errors=True)
  part.mkdir(parents=True)
  whole.save(part / 'model.keras')
  tf.saved_model.save(whole, str(part / 'saved_model'))
  final_state.write_weights(part, weights)
  json_file.write(part / 'model.json', {**facts(task), **task.objective.yardstick(
      evaluator.logits(task.images.test.examples.x), task.images.test.examples.y)})
  difference = _parity(part, task, evaluator)
  if folder.exists():
    shutil.rmtree(folder)
  os.replace(part, folder)
  return difference


def facts(task: tasks.Task) -> dict[str, Any]:
  """Returns what a user of the model must know of its images and outputs: the content of model.json."""
  stored = task.images.test.examples
  return {'task': task.objective.task, 'class_names': list(task.images.class_names),
          'multi_label': task.images.multi_label, 'image_shape': list(stored.x.shape[1:]),
          **dataclasses.asdict(task.images.stored_pixels)}


def _parity(folder, task, evaluator):
  stored = task.images.test.examples.x[:_PARITY_IMAGES]
  expected = evaluator.logits(stored)
  images = stored.astype(np.float32)
  keras = tf.keras.models.load_model(folder / 'model.keras', compile=False)(images, training=False).numpy()
  served = tf.saved_model.load(str(folder / 'saved_model')).signatures['serving_default'](tf.constant(images))
  difference = max(float(np.abs(found - expected).max()) for found in (keras, *(v.numpy() for v in served.values())))
  check_difference(difference, float(np.abs(expected).max()), what='exported model')
  return difference


def check_difference(difference: float, scale: float, *, what: str) -> None:
  """Refuses a file whose logits differ too much from the federated state's.

  Args:
    difference: The largest one.
    scale: The largest logit.
    what: The file, in words.

  Raises:
    RuntimeError: The difference is above 1e-3 of the scale.
  """
  if not difference <= _TOLERANCE * max(1.0, scale):
    raise RuntimeError(f'The {what} differs from the federated state by {difference:g} on test images.')
