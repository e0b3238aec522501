"""Speed and memory of one step of private SGD, by ghost clipping and by its alternatives.

    python -m benchmarks.dp_sgd --json=FILE [--network=cnn --batches=32,256]

The targets, on the CNN of 1.2 million parameters at batches of 32 and 256: the speed of ghost clipping is at least 0.75
of the non-private step, 3 times `vectorized_map` and 1.8 times tensorflow-privacy's fast clipping; its added memory at
256 is less than twice that of the non-private step; on ResNet-20 it is not slower than the loop over examples. Each
measurement runs in its own process; times are the best of the repetitions. `vectorized_map` at 256 takes long to trace
and needs several GB.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import tensorflow as tf
from absl import app, flags
from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads, layer_registry

from benchmarks import origin
from tff_vision.privacy.ghost import clipped

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_NETWORK = flags.DEFINE_enum('network', 'cnn', ['cnn', 'resnet20'], 'Which network.')
_BATCHES = flags.DEFINE_list('batches', ['32', '256'], 'Batch sizes.')
_METHODS = flags.DEFINE_list('methods', ['plain', 'ghost', 'loop', 'vectorized_map', 'tfp'], 'What to measure.')
_REPETITIONS = flags.DEFINE_integer('repetitions', 5, 'Timed steps.')
_ONE = flags.DEFINE_bool('one', False, 'Measure the first method at the first batch size in this process.')
_CLIP_NORM = 0.1


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  if _ONE.value:
    print(json.dumps(_measure(_NETWORK.value, _METHODS.value[0], int(_BATCHES.value[0]))))
    return
  found = []
  for batch in _BATCHES.value:
    for method in _METHODS.value:
      found.append(_in_a_process(method, batch))
      print(json.dumps(found[-1]), flush=True)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(
        {'network': _NETWORK.value, 'machine': origin.machine(),
         'commit': origin.commit(), 'steps': found}, indent=2) + '\n')


def _in_a_process(method, batch):
  done = subprocess.run(
      [sys.executable, '-m', 'benchmarks.dp_sgd', '--one', f'--network={_NETWORK.value}', f'--methods={method}',
       f'--batches={batch}', f'--repetitions={_REPETITIONS.value}'], capture_output=True, text=True)
  if done.returncode:
    return {'method': method, 'batch': int(batch), 'failed': done.stderr.strip().splitlines()[-1]}
  return json.loads(done.stdout.strip().splitlines()[-1])


def _measure(network, method, batch):
  shape, classes = ((28, 28, 1), 62) if network == 'cnn' else ((32, 32, 3), 10)
  model = _NETWORKS[network](shape, classes)
  rng = np.random.default_rng(0)
  x, y = tf.constant(rng.normal(size=(batch, *shape)), tf.float32), tf.constant(rng.integers(0, classes, batch))
  step = tf.function(_STEPS[method](model))
  before = _peak_mb()
  started = time.perf_counter()
  _finish(step(x, y))
  traced = time.perf_counter() - started
  seconds = []
  for _ in range(_REPETITIONS.value):
    started = time.perf_counter()
    _finish(step(x, y))
    seconds.append(time.perf_counter() - started)
  return {'method': method, 'batch': batch, 'parameters': model.count_params(),
          'examples_per_second': batch / min(seconds), 'first_step_seconds': traced, 'added_mb': _peak_mb() - before}


def _finish(gradients):
  for gradient in gradients:
    gradient.numpy()


def _peak_mb():
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cnn(shape, classes):
  """Returns the CNN of `models.cnn.build_cnn_dropout` without Dropout; with it, tensorflow-privacy clips nothing."""
  layers = tf.keras.layers
  return tf.keras.Sequential([
      layers.Input(shape), layers.Conv2D(32, 3, activation='relu'), layers.Conv2D(64, 3, activation='relu'),
      layers.MaxPool2D(), layers.Flatten(), layers.Dense(128, activation='relu'), layers.Dense(classes)])


def _resnet20(shape, classes):
  layers = tf.keras.layers

  def block(hidden, width, stride):
    shortcut = hidden if stride == 1 and hidden.shape[-1] == width else layers.Conv2D(width, 1, stride)(hidden)
    hidden = layers.Conv2D(width, 3, stride, 'same', use_bias=False)(hidden)
    hidden = layers.ReLU()(layers.GroupNormalization(8)(hidden))
    hidden = layers.GroupNormalization(8)(layers.Conv2D(width, 3, 1, 'same', use_bias=False)(hidden))
    return layers.ReLU()(hidden + shortcut)

  inputs = layers.Input(shape)
  hidden = layers.ReLU()(layers.GroupNormalization(8)(layers.Conv2D(16, 3, 1, 'same', use_bias=False)(inputs)))
  for width in (16, 32, 64):
    for position in range(3):
      hidden = block(hidden, width, 2 if width > 16 and position == 0 else 1)
  return tf.keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(hidden)))


def _loss():
  return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='none')


def _plain(model):
  loss_fn = _loss()

  def step(x, y):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(loss_fn(y, model(x, training=True)))
    return tape.gradient(loss, model.trainable_variables)

  return step


def _ours(ghost):
  def build(model):
    return lambda x, y: clipped.clipped_sum(model, _loss(), x, y, _CLIP_NORM, tf.ones(tf.shape(x)[0]),
                                            ghost=ghost).gradients
  return build


def _vectorized_map(model):
  loss_fn = _loss()

  def clipped_gradient(example):
    x, y = example
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(loss_fn(y[None], model(x[None], training=True)))
    return tf.clip_by_global_norm(tape.gradient(loss, model.trainable_variables), _CLIP_NORM)[0]

  return lambda x, y: [tf.reduce_sum(part, 0) for part in tf.vectorized_map(clipped_gradient, (x, y))]


def _tfp(model):
  registry = layer_registry.make_default_layer_registry()
  registry.insert(tf.keras.layers.Conv2D, _tfp_conv2d)
  model.compile(loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
  return lambda x, y: clip_grads.compute_clipped_gradients_and_outputs(model, _CLIP_NORM, registry, x, y)[0]


def _tfp_conv2d(layer, arguments, options, tape, num_microbatches):
  """Computes the gradient norms of Conv2D for tensorflow-privacy, which does not support this layer."""
  del options, num_microbatches
  activation, layer.activation = layer.activation, tf.keras.activations.linear
  outputs = layer(*arguments)
  tape.watch(outputs)
  layer.activation = activation

  def squared_norms(dz):
    sizes, strides = [1, *layer.kernel_size, 1], [1, *layer.strides, 1]
    patches = tf.image.extract_patches(arguments[0], sizes, strides, [1, 1, 1, 1], layer.padding.upper())
    gradients = tf.einsum('bhwp,bhwq->bpq', patches, dz)
    return tf.reduce_sum(gradients ** 2, [1, 2]) + tf.reduce_sum(tf.reduce_sum(dz, [1, 2]) ** 2, 1)

  return outputs, activation(outputs), squared_norms


_NETWORKS = {'cnn': _cnn, 'resnet20': _resnet20}
_STEPS = {'plain': _plain, 'ghost': _ours(True), 'loop': _ours(False), 'vectorized_map': _vectorized_map, 'tfp': _tfp}


if __name__ == '__main__':
  app.run(main)
