"""Local steps of small clients: one after the other, with steps that XLA compiles, and several clients at once.

    python -m benchmarks.client_steps --json=FILE [--network=dense,cnn --clients=8 --repetitions=7]

Says whether it would pay for devices to compile a step (`jit`, the last and smaller batch of a client padded with
examples of weight 0, so that there is one shape) or to train several clients in one call (`stacked`, their weights
stacked, by `vectorized_map`). The ways take turns in one process, and all end at the same weights. Two threads for each
way: a loop has two clients at a time, as lanes have, and the stacked clients share both.
"""

import concurrent.futures
import json
import os
import pathlib
import statistics
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import tensorflow as tf
from absl import app, flags

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_NETWORKS = flags.DEFINE_list('network', ['dense', 'cnn'], 'Which networks.')
_CLIENTS = flags.DEFINE_integer('clients', 8, 'Clients, and how many are stacked.')
_REPETITIONS = flags.DEFINE_integer('repetitions', 7, 'Timed turns of each way.')
_IMAGES, _BATCH, _CLASSES, _RATE, _LANES = 90, 20, 10, 0.1, 2
_STEPS = -(-_IMAGES // _BATCH)


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  found = [_measure(network, _CLIENTS.value, _REPETITIONS.value) for network in _NETWORKS.value]
  for one in found:
    print(json.dumps(one), flush=True)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps({'cores': os.cpu_count(), 'networks': found}, indent=2) + '\n')


def _measure(network, clients, repetitions):
  shapes, outputs = _MODELS[network]
  rng = np.random.default_rng(0)
  start = [tf.constant(rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape), tf.float32) for shape in shapes]
  x = tf.constant(rng.normal(size=(clients, _IMAGES, 28, 28, 1)), tf.float32)
  y = tf.constant(rng.integers(0, _CLASSES, (clients, _IMAGES)))
  ways = {'plain': _one_by_one(outputs, start, x, y, jit=False), 'jit': _one_by_one(outputs, start, x, y, jit=True),
          'stacked': _stacked(outputs, start, x, y)}
  seconds, first, ends = {way: [] for way in ways}, {}, {}
  for turn in range(repetitions + 1):
    for way, run in ways.items():
      began = time.perf_counter()
      ends[way] = run()
      taken = time.perf_counter() - began
      if turn:
        seconds[way].append(taken)
      else:
        first[way] = taken
  for way, end in ends.items():
    error = max(np.abs(one - other).max() for one, other in zip(end, ends['plain'], strict=True))
    if not error < 1e-4:
      raise RuntimeError(f'{network}: {way} ends at other weights than plain: {error}')
  medians = {way: statistics.median(taken) for way, taken in seconds.items()}
  return {'network': network, 'parameters': int(sum(np.prod(shape) for shape in shapes)),
          'images_per_second': {way: clients * _IMAGES / taken for way, taken in medians.items()},
          'over_plain': {way: medians['plain'] / taken for way, taken in medians.items()}, 'first_seconds': first}


def _gradients(outputs, weights, x, y, mask):
  """Returns the gradient of the mean loss over the examples whose mask is 1."""
  with tf.GradientTape() as tape:
    tape.watch(weights)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, outputs(weights, x))
    loss = tf.reduce_sum(mask * losses) / tf.reduce_sum(mask)
  return tape.gradient(loss, weights)


def _padded(x, y):
  """Returns the examples of a client, a whole number of batches, and the mask."""
  more = _STEPS * _BATCH - _IMAGES
  return (tf.pad(x, [[0, more], [0, 0], [0, 0], [0, 0]]), tf.pad(y, [[0, more]]),
          tf.concat([tf.ones([_IMAGES]), tf.zeros([more])], 0))


def _one_by_one(outputs, start, x, y, *, jit):
  """Returns a function that trains the clients on lanes and returns their weights, [clients, ...] each."""
  gradients = tf.function(lambda *batch: _gradients(outputs, *batch), jit_compile=jit or None)

  def lane():
    weights = [tf.Variable(value) for value in start]

    @tf.function
    def train(x, y):
      for weight, value in zip(weights, start, strict=True):
        weight.assign(value)
      mask = tf.ones([_IMAGES])
      if jit:
        x, y, mask = _padded(x, y)
      for step in tf.range(_STEPS):
        rows = slice(step * _BATCH, (step + 1) * _BATCH)
        batch = [part[rows] for part in (x, y, mask)]
        if jit:
          batch = [tf.ensure_shape(part, [_BATCH, *part.shape[1:]]) for part in batch]
        found = gradients([weight.read_value() for weight in weights], *batch)
        for weight, gradient in zip(weights, found, strict=True):
          tf.raw_ops.ResourceApplyGradientDescent(var=weight.handle, alpha=_RATE, delta=gradient)
      return [weight.read_value() for weight in weights]

    return train

  lanes = [lane() for _ in range(_LANES)]
  pool = concurrent.futures.ThreadPoolExecutor(_LANES)

  def serve(number):
    return [lanes[number](x[client], y[client]) for client in range(number, len(x), _LANES)]

  def run():
    served = list(pool.map(serve, range(_LANES)))
    ordered = [served[client % _LANES][client // _LANES] for client in range(len(x))]
    return [np.stack(parts) for parts in zip(*ordered, strict=True)]

  return run


def _stacked(outputs, start, x, y):
  """Returns the same for all clients in one call."""
  @tf.function
  def train(x, y):
    padded = [_padded(x[client], y[client]) for client in range(len(x))]
    x, y, mask = (tf.stack(parts) for parts in zip(*padded, strict=True))
    weights = [tf.repeat(value[None], len(x), 0) for value in start]
    for step in tf.range(_STEPS):
      rows = slice(step * _BATCH, (step + 1) * _BATCH)
      batch = [tf.ensure_shape(part[:, rows], [len(padded), _BATCH, *part.shape[2:]]) for part in (x, y, mask)]
      found = tf.vectorized_map(lambda one: _gradients(outputs, *one), (weights, *batch))
      weights = [weight - _RATE * gradient for weight, gradient in zip(weights, found, strict=True)]
    return weights

  return lambda: [part.numpy() for part in train(x, y)]


def _dense(weights, x):
  hidden = tf.reshape(x, [-1, 784])
  for weight in weights[:-1]:
    hidden = tf.nn.relu(hidden @ weight)
  return hidden @ weights[-1]


def _cnn(weights, x):
  hidden = tf.nn.relu(tf.nn.conv2d(x, weights[0], 1, 'VALID'))
  hidden = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(hidden, weights[1], 1, 'VALID')), 2, 2, 'VALID')
  hidden = tf.reshape(hidden, [-1, 9216])
  return tf.nn.relu(hidden @ weights[2]) @ weights[3]


# Name -> (shapes of the weights, function from (weights, images) to outputs).
_MODELS = {'dense': (((784, 64), (64, _CLASSES)), _dense),
           'cnn': (((3, 3, 1, 32), (3, 3, 32, 64), (9216, 128), (128, _CLASSES)), _cnn)}


if __name__ == '__main__':
  tf.config.threading.set_intra_op_parallelism_threads(_LANES)
  app.run(main)
