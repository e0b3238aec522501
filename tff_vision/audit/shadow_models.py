"""Trains shadow models: the model and local optimizer of a run, trained on other examples.

An attacker who took part in a run knows its model, its settings and the weights of round 0. The attacker trains shadow
models to learn how a model behaves that was trained on an example. Runs on the driver, without TFF's runtime.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, seeds, tasks
from tff_vision.data import images
from tff_vision.learning import evaluation, local_steps, local_training


def passes(config: configs.ExperimentConfig, *, rounds: int, population: int) -> int:
  """Returns how many times, on average, a run of `rounds` rounds passes over each example; at least 1."""
  share = min(1.0, config.cohort.cohort_size / population)
  return max(1, round(rounds * config.client.client_epochs * share))


def logits(task: tasks.Task, pool: images.Examples, inside: np.ndarray, *, passes: int) -> Iterator[np.ndarray]:
  """Yields the logits of each shadow model for every example, [n, outputs], after its training.

  Args:
    inside: Which model learns from which example, bool [models, n].
  """
  train = trainer(task, passes=passes)
  evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing)
  for number, chosen in enumerate(inside):
    weights = train(pool.take(np.flatnonzero(chosen)), seeds.derive(task.seed, 'shadow model', number))
    weights.assign_weights_to(evaluator.model)
    yield evaluator.logits(pool.x)


def trainer(task: tasks.Task, *, passes: int
            ) -> Callable[[images.Examples, int], tff.learning.models.ModelWeights]:
  """Returns a function (examples, seed of their order) -> weights after `passes` passes, from the task's round 0.

  It uses the learning rate of the first round, no server steps and no noise.
  """
  task = dataclasses.replace(task, client=dataclasses.replace(task.client, client_epochs=passes))
  local = local_training.LocalOptimization(client=task.client)
  values = tf.nest.map_structure(lambda weight: weight.numpy(), task.initial_weights())

  def change(carried, gradients, weights, server_weights):
    del server_weights
    return carried, local.change(gradients, weights)

  # The same graph as on a client, in which the shared loop makes its model; built once for all shadow models.
  with tf.Graph().as_default() as graph:
    element = {name: tf.compat.v1.placeholder(spec.dtype, spec.shape)
               for name, spec in task.batch_reader.element_spec.items()}
    at_start = tf.nest.map_structure(tf.constant, values)
    trained = local_steps.descend(
        task, local.optimizer(task.client.client_learning_rate), at_start, task.batch_reader.dataset(**element),
        change=change).weights
    initializer = tf.compat.v1.global_variables_initializer()

  def train(examples, seed):
    with tf.compat.v1.Session(graph=graph) as session:
      session.run(initializer)
      feed = {element['x']: examples.x, element['y']: examples.y, element['seed']: seed}
      return tff.learning.models.ModelWeights(session.run(trained, feed), values.non_trainable)

  return train
