"""Reads the final weights of a run from its export or last checkpoint, without building a TFF process."""

import pathlib
import zipfile

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
import tree

from tff_vision.program import checkpoints, run_directory

FILE = 'weights.npz'


def write_weights(folder: pathlib.Path, weights: tff.learning.models.ModelWeights) -> None:
  """Writes the weights to a file in `folder` that `read_weights` can read."""
  arrays = [np.asarray(value) for value in (*weights.trainable, *weights.non_trainable)]
  np.savez(folder / FILE, *arrays)


def read_weights(directory: run_directory.RunDirectory, model: tf.keras.Model) -> tff.learning.models.ModelWeights:
  """Returns the weights that a run has exported.

  Runs of earlier versions did not export weights; their newest checkpoint is read instead. A checkpoint is
  {'history', 'state'}. The state of a learning process begins with the model's trainable weights, then its other
  weights, in the model's order. This holds for every algorithm and aggregation.

  Args:
    directory: The folder of the run.
    model: A model of the run's architecture; its values are not read.

  Raises:
    ValueError: There are no weights, or they belong to another model.
  """
  expected = tff.learning.models.ModelWeights.from_model(model)
  shapes = [tuple(value.shape) for value in (*expected.trainable, *expected.non_trainable)]
  path = directory.export / FILE
  values = _exported(path) if path.exists() else None
  if values is None:
    path, values = _saved(directory, len(shapes))
  if [value.shape for value in values] != shapes:
    raise ValueError(f'{str(path)!r} holds other weights than model {model.name!r}.')
  split = len(expected.trainable)
  return tff.learning.models.ModelWeights(trainable=values[:split], non_trainable=values[split:])


def _exported(path):
  try:
    with np.load(path) as held:
      return [held[f'arr_{i}'] for i in range(len(held.files))]
  except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
    raise ValueError(f'{str(path)!r} cannot be read: {error}') from None


def _saved(directory, count):
  """Returns the newest checkpoint and the first `count` values of its state."""
  rounds = checkpoints.versions(directory.checkpoints)
  if not rounds:
    raise ValueError(f'run_dir={str(directory.path)!r} holds no weights, so that nothing can be exported.')
  path = directory.checkpoints / f'{checkpoints.PREFIX}{rounds[-1]}'
  try:
    saved = tf.saved_model.load(str(path))()['state']
  except (OSError, KeyError, TypeError, tf.errors.OpError) as error:
    raise ValueError(f'checkpoint {str(path)!r} cannot be read: {str(error).splitlines()[0]}') from None
  return path, [leaf.numpy() for leaf in tree.flatten(saved)[:count]]
