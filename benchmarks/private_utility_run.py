"""One run of `benchmarks.private_utility`: the part that needs TensorFlow.

Client computations run in this process and not in an executor, which avoids copies of the features. Private SGD is the
library's own graph. A client of a client-level run trains one linear layer; its gradient is implemented here for a
whole cohort together. Clipping, noise and the mean are the library's aggregator, in TFF.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, models
from tff_vision.aggregation import stack
from tff_vision.data import build as data_build
from tff_vision.data import images, preprocess
from tff_vision.models import scattering, scatternet
from tff_vision.privacy import plan as plan_lib
from tff_vision.privacy.mechanisms import example_plan, example_work, shared_step
from tff_vision.runtime.driver import local

SHARED_BITS = 20
_MOMENTUM = 0.9  # Server momentum in client-level runs, client momentum in example-level runs.


def accuracy(cell, seed: int) -> dict[str, float | None]:
  """Returns the test accuracy after the last round, the accounted epsilon, and the noise multiplier."""
  source = cell.dataset, cell.data_dir
  train, test = _features(cell.model, *source) if cell.model in FIXED else _pixels(*source)
  parts = np.array_split(np.random.default_rng(seed).permutation(len(train))[:cell.images], cell.num_clients)
  plan = plan_lib.build_plan(cell.privacy, cell.cohort, population=cell.num_clients, rounds=cell.rounds, seed=seed,
                             sizes=[len(part) for part in parts], client=cell.client)
  if cell.privacy.privacy == 'example_distributed':
    return _by_shares(cell, plan, train, parts, test, seed)
  accounted = {'epsilon': None if cell.epsilon is None else plan.ledger(cell.rounds).epsilon,
               'noise_multiplier': plan.noise_multiplier}
  # Cohort scaling: with `scale` times the clients, the noise on the mean is `scale` times smaller; the sampling rate,
  # and so the privacy cost, does not change.
  plan = dataclasses.replace(plan, noise_multiplier=plan.noise_multiplier / cell.scale)
  tf.keras.utils.set_random_seed(seed)
  found = (_by_clients if cell.scale > 1 else _by_examples)(cell, plan, train, parts, test, seed)
  return {'accuracy': float(found), **accounted}


def _by_examples(cell, plan, train, parts, test, seed):
  """Runs private SGD in each silo and averages the weights after each round."""
  del seed
  builder = _linear if cell.model in FIXED else models.MODELS[cell.model]
  classes = 1 + int(train.y.max())
  model = builder(train.x.shape[1:], classes)
  if cell.from_public:
    for layer, public in zip(model.layers[:-2], _convolutions(trained=True).layers[1:], strict=True):
      layer.set_weights(public.get_weights())
  plan = plan.for_model(model, tf.TensorSpec((None, *train.x.shape[1:]), tf.float32))
  client = example_work.build_train_fn(
      builder(train.x.shape[1:], classes),
      tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='none'),
      tff.learning.optimizers.build_sgdm(cell.client.client_learning_rate, momentum=_MOMENTUM), plan.training)
  for _ in range(cell.rounds):
    start = tff.learning.models.ModelWeights.from_model(model)
    start = tf.nest.map_structure(tf.identity, start)
    updates = [client(start, tf.constant(train.x[part]), tf.constant(train.y[part])).update for part in parts]
    for weight, *found in zip(model.trainable_variables, *updates, strict=True):
      weight.assign_sub(tf.add_n(found) / len(found))
  logits = np.concatenate([model(test.x[i:i + 500]).numpy() for i in range(0, len(test), 500)])
  return (logits.argmax(1) == test.y).mean()


def _by_shares(cell, plan, train, parts, test, seed):
  """Takes each step on the opened sum of the silos' noised integers; masks, which cancel in the sum, are left out."""
  tf.keras.utils.set_random_seed(seed)
  loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  builder = _linear if cell.model in FIXED else models.MODELS[cell.model]
  model, clients_model = (builder(train.x.shape[1:], 1 + int(train.y.max())) for _ in range(2))
  plan = plan.for_secure_sum(configs.SecureConfig(secure_sum='masks', secure_bits=SHARED_BITS)).for_model(
      model, tf.TensorSpec((None, *train.x.shape[1:]), tf.float32))
  client = shared_step.build_step_fn(clients_model, example_plan.one_each(loss), plan.step)
  encoding, seeds = plan.sum_encoding(), tf.constant([0, 0])
  encode = tf.function(lambda update: encoding.encode(tf.concat([tf.reshape(part, [-1]) for part in update], 0), seeds))
  sizes = [int(np.prod(weight.shape)) for weight in model.trainable_variables]
  momentum = [tf.zeros(weight.shape) for weight in model.trainable_variables]
  data = [(tf.constant(train.x[part]), tf.constant(train.y[part])) for part in parts]
  for _ in range(cell.rounds):
    start = tff.learning.models.ModelWeights.from_model(model)
    total = sum(tf.cast(encode(client(start, x, y).update), tf.int64) for x, y in data)
    mean = encoding.decode(total, tf.constant(len(data))) / plan.denominator
    gradient = [tf.reshape(part, weight.shape) for part, weight in zip(
        tf.split(mean, sizes), model.trainable_variables, strict=True)]
    momentum = [_MOMENTUM * m + part for m, part in zip(momentum, gradient, strict=True)]
    for weight, m in zip(model.trainable_variables, momentum, strict=True):
      weight.assign_sub(cell.server.server_learning_rate * m)
  logits = np.concatenate([model(test.x[i:i + 500]).numpy() for i in range(0, len(test), 500)])
  return {'accuracy': float((logits.argmax(1) == test.y).mean()), 'epsilon': plan.ledger(cell.rounds).epsilon,
          'noise_multiplier': plan.noise_multiplier}


def _by_clients(cell, plan, train, parts, test, seed):
  """Runs DP-FedAvg with server momentum on one linear layer."""
  x, y = train.x.reshape(len(train), -1), np.eye(10, dtype=np.float32)[train.y]
  weights = [np.zeros((x.shape[1], 10), np.float32), np.zeros(10, np.float32)]
  momentum = [np.zeros_like(weight) for weight in weights]
  value_type = tff.to_type([tff.TensorType(np.float32, weight.shape) for weight in weights])
  with local.local_runtime(threads=1, max_concurrent_clients=1):
    aggregation = stack.build_stack(plan).create(value_type)
    state = aggregation.initialize()
    for round_num in range(1, cell.rounds + 1):
      rng = np.random.default_rng([seed, round_num])
      cohort = [rng.permutation(parts[client]) for client in plan.cohort(round_num)]
      output = aggregation.next(state, _local_updates(cell.client, weights, x, y, np.array(cohort, int)))
      state = output.state
      momentum = [_MOMENTUM * m + update for m, update in zip(momentum, output.result, strict=True)]
      weights = [w - cell.server.server_learning_rate * m for w, m in zip(weights, momentum, strict=True)]
  logits = test.x.reshape(len(test), -1) @ weights[0] + weights[1]
  return (logits.argmax(1) == test.y).mean()


def _local_updates(client, weights, x, y, cohort):
  """Returns each client's update after one pass of SGD: server weights minus client weights; cohort [clients, n]."""
  kernel, bias = (np.repeat(weight[None], len(cohort), 0) for weight in weights)
  for start in range(0, cohort.shape[-1] if len(cohort) else 0, client.batch_size):
    rows = cohort[:, start:start + client.batch_size]
    logits = x[rows] @ kernel + bias[:, None]
    exponentials = np.exp(logits - logits.max(2, keepdims=True))
    error = (exponentials / exponentials.sum(2, keepdims=True) - y[rows]) / rows.shape[1]
    kernel -= client.client_learning_rate * x[rows].transpose(0, 2, 1) @ error
    bias -= client.client_learning_rate * error.sum(1)
  return [[weights[0] - own, weights[1] - shift] for own, shift in zip(kernel, bias, strict=True)]


def _linear(input_shape, num_classes):
  """Returns the linear layer that is trained on fixed features."""
  return tf.keras.Sequential([tf.keras.layers.Input(input_shape), tf.keras.layers.Flatten(),
                              tf.keras.layers.Dense(num_classes, kernel_initializer='zeros')], name='linear')


@functools.cache
def _whole(dataset, data_dir):
  config = configs.DataConfig(dataset=dataset, data_dir=data_dir, partition='iid', num_clients=1)
  whole = data_build.build(config, seed=0)
  return whole.preprocessing, whole.train.examples(0), whole.test.examples


@functools.cache
def _pixels(dataset, data_dir):
  """Returns all training and test examples as a model's input."""
  preprocessing, *parts = _whole(dataset, data_dir)
  return tuple(images.Examples(preprocess.evaluation_fn(preprocessing, tf.constant(part.x)).numpy(), part.y)
               for part in parts)


@functools.cache
def _features(model, dataset, data_dir):
  """Returns all training and test examples as features of pixels in 0..1."""
  parts = _whole(dataset, data_dir)[1:]
  features = FIXED[model](parts[0].x.shape[1:])
  step = tf.function(lambda x: features(tf.cast(x, tf.float32) / 255))
  return tuple(images.Examples(np.concatenate([step(part.x[i:i + 500]).numpy() for i in range(0, len(part), 500)]),
                               part.y) for part in parts)


def _by_order(shape):
  """Returns the coefficients of `scatternet`, normalised as those of `scattering` are: each kind together."""
  coefficients = scatternet.build_coefficients(shape)
  normalized = [tf.keras.layers.GroupNormalization(1, center=False, scale=False, epsilon=1e-6)(
      coefficients.output[..., first:last]) for first, last in ((0, 1), (1, 9), (9, 17), (17, 81))]
  return tf.keras.Model(coefficients.input, tf.keras.layers.Concatenate()(normalized))


@functools.cache
def _convolutions(*, trained):
  """Returns `cnn_private` without its last layer, trained on generated (not human) handwriting, or untrained."""
  tf.keras.utils.set_random_seed(0)
  public = data_build.build(configs.DataConfig(dataset='synthetic_emnist', partition='natural', num_clients=_WRITERS,
                                               held_out_clients=1, preprocess='invert'), seed=0)
  model = models.MODELS['cnn_private']((28, 28, 1), len(public.class_names))
  if trained:
    written = [public.train.examples(writer) for writer in range(_WRITERS)]
    x = np.concatenate([preprocess.evaluation_fn(public.preprocessing, tf.constant(part.x)) for part in written])
    model.compile('adam', tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=['accuracy'])
    model.fit(x, np.concatenate([part.y for part in written]), batch_size=128, epochs=_PUBLIC_EPOCHS, verbose=2)
  return tf.keras.Model(model.inputs, model.layers[-3].output)


_WRITERS, _PUBLIC_EPOCHS = 400, 6
FIXED = {  # Name -> what makes the features of images of a shape.
    'scattering': scattering.build_features,
    'scatternet': scatternet.build_features,
    'scatternet_scaled': scatternet.build_scaled_features,
    'scatternet_mirrored': scatternet.build_mirrored_features,
    'scatternet by order': lambda shape: _by_order(shape),
    'public': lambda shape: _convolutions(trained=True),
    'untrained': lambda shape: _convolutions(trained=False),
}
