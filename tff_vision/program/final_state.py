"""The federated state that a run ended with, read from its last checkpoint without building its TFF process."""

import tensorflow as tf
import tensorflow_federated as tff
import tree

from tff_vision.program import run_directory

_PREFIX = 'program_state_'


def read_weights(directory: run_directory.RunDirectory, model: tf.keras.Model) -> tff.learning.models.ModelWeights:
  """Returns the weights in the newest checkpoint of a run.

  A checkpoint is {'history', 'state'}; a learning process's state begins with the model's trainable and other weights,
  in the model's order, whatever algorithm and aggregation follow.

  Args:
    model: Of the run's architecture; its values are not read.

  Raises:
    ValueError: There is no checkpoint, or it is of another model.
  """
  rounds = [int(path.name.removeprefix(_PREFIX)) for path in directory.checkpoints.glob(_PREFIX + '*')
            if path.name.removeprefix(_PREFIX).isdigit()]
  if not rounds:
    raise ValueError(f'run_dir={str(directory.path)!r} holds no checkpoint, so that nothing can be exported.')
  path = directory.checkpoints / f'{_PREFIX}{max(rounds)}'
  try:
    saved = tf.saved_model.load(str(path))()['state']
  except (OSError, KeyError, TypeError, tf.errors.OpError) as error:
    raise ValueError(f'checkpoint {str(path)!r} cannot be read: {str(error).splitlines()[0]}') from None
  expected = tff.learning.models.ModelWeights.from_model(model)
  leaves = tree.flatten(saved)[:len(tree.flatten([expected.trainable, expected.non_trainable]))]
  shapes = [tuple(value.shape) for value in (*expected.trainable, *expected.non_trainable)]
  if [tuple(leaf.shape) for leaf in leaves] != shapes:
    raise ValueError(f'checkpoint {str(path)!r} holds other weights than model {model.name!r}.')
  values = [leaf.numpy() for leaf in leaves]
  split = len(expected.trainable)
  return tff.learning.models.ModelWeights(trainable=values[:split], non_trainable=values[split:])
