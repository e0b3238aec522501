"""One run of `benchmarks.private_utility`: the part that needs TensorFlow."""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from tff_vision import configs, models, tasks
from tff_vision.aggregation import stack
from tff_vision.data import build as data_build
from tff_vision.data import images
from tff_vision.learning import evaluation, process
from tff_vision.models import scattering
from tff_vision.privacy import plan as plan_lib
from tff_vision.runtime import local


def accuracy(cell, seed: int) -> dict[str, float | None]:
  """Returns the test accuracy after the last round, epsilon as accounted, and the noise multiplier."""
  task = _task(cell, seed)
  sizes = [task.images.train.num_examples(client) for client in range(cell.num_clients)]
  plan = plan_lib.build_plan(cell.privacy, cell.cohort, population=cell.num_clients, rounds=cell.rounds, seed=seed,
                             sizes=sizes, client=cell.client).for_model(task.keras_model(), task.batch_spec[0])
  accounted = {'epsilon': None if cell.epsilon is None else plan.ledger(cell.rounds)['epsilon'],
               'noise_multiplier': plan.noise_multiplier}
  # Cohort scaling: with so many times the clients the noise on the mean is so many times smaller; the sampling
  # rate, and with it the cost, stays.
  plan = dataclasses.replace(plan, noise_multiplier=plan.noise_multiplier / cell.scale)
  task = dataclasses.replace(task, client=plan.client_data(task.client))
  with local.local_runtime(threads=1, max_concurrent_clients=1):
    learning = process.build_process(
        task, algorithm=configs.AlgorithmConfig(), client=cell.client, server=cell.server,
        aggregator=stack.build_stack(plan), private_training=plan.client_work)
    state = learning.set_model_weights(learning.initialize(), task.initial_weights())
    for round_num in range(1, cell.rounds + 1):
      state = learning.next(state, [task.client_dataset(client, round_num) for client in plan.cohort(round_num)]).state
    evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing)
    learning.get_model_weights(state).assign_weights_to(evaluator.model)
  found = evaluator.evaluate(task.images.test)['evaluation']['accuracy']
  assert math.isfinite(found)
  return {'accuracy': found, **accounted}


def _task(cell, seed):
  scattered = cell.model == 'scattering'
  return tasks.Task(images=_images(cell.num_clients, seed, scattered), seed=seed, client=cell.client,
                    model_builder=_linear if scattered else models.MODELS[cell.model])


def _linear(input_shape, num_classes):
  """What `scattering` trains."""
  return tf.keras.Sequential([tf.keras.layers.Input(input_shape), tf.keras.layers.Flatten(),
                              tf.keras.layers.Dense(num_classes, kernel_initializer='zeros')], name='linear')


def _images(num_clients, seed, scattered):
  """Returns Fashion-MNIST divided evenly, as images or as scattering features."""
  whole = _whole()
  if not scattered:
    return dataclasses.replace(whole, train=_divided(whole.train.examples(0), num_clients, seed))
  train, test = _features()
  return dataclasses.replace(
      whole, preprocessing=images.Preprocessing(), train=_divided(train, num_clients, seed),
      test=dataclasses.replace(whole.test, examples=test))


def _divided(pool, num_clients, seed):
  order = np.random.default_rng(seed).permutation(len(pool))
  return images.ArrayClients(pool, np.array_split(order, num_clients), [f'client{i}' for i in range(num_clients)])


@functools.cache
def _whole():
  return data_build.build(configs.DataConfig(dataset='fashion_mnist', partition='iid', num_clients=1), seed=0)


@functools.cache
def _features():
  """Returns all training and test examples as scattering features."""
  whole = _whole()
  features = scattering.build_features((28, 28, 1))
  step = tf.function(lambda x: features(tf.cast(x, tf.float32) / 255))
  return tuple(images.Examples(np.concatenate([step(part.x[i:i + 500]).numpy() for i in range(0, len(part), 500)]),
                               part.y) for part in (whole.train.examples(0), whole.test.examples))
