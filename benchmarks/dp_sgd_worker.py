"""Private SGD inside TFF's executor: examples per second of a client's round, plain and private.

    python -m benchmarks.dp_sgd_worker --json=FILE [--batches=32,256]

One client with the CNN of 1.2 million parameters and generated images; each figure is the best of three rounds after
the first. `private without noise` shows the cost of clipping, and `private` the added cost of noise from the ChaCha20
key stream: one number per parameter and step, for every batch size. `noise` is what a step's noise takes by itself, in
milliseconds: the key stream, and making Gaussian numbers of it.
"""

import functools
import json
import os
import pathlib
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
from absl import flags

import tff_vision as tv
from benchmarks import origin
from pipelines import launch
from tff_vision import configs
from tff_vision.data import images
from tff_vision.privacy.noise import integer_gaussian, integer_grid
from tff_vision.secure import chacha20

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_BATCHES = flags.DEFINE_list('batches', ['32', '256'], 'Batch sizes.')
_EXAMPLES = 1024
_ROUNDS = 3
_PARAMETERS = 1_206_590  # Of cnn_dropout with 62 classes.
_PRIVACY = {
    'plain': configs.PrivacyConfig(),
    'private without noise': configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=0.1, noise_multiplier=0.0,
                                                   delta=1e-5, example_sampling='shuffled'),
    'private': configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=0.1, noise_multiplier=1.0, delta=1e-5,
                                     example_sampling='shuffled'),
}


def main() -> None:
  found = []
  with tv.open_runtime(tv.RuntimeConfig(threads=os.cpu_count(), max_concurrent_clients=1)):
    for batch in map(int, _BATCHES.value):
      for name, privacy in _PRIVACY.items():
        found.append({'method': name, 'batch': batch, 'examples_per_second': _measured(privacy, batch)})
        print(json.dumps(found[-1]), flush=True)
  noise = _noise()
  print(json.dumps(noise), flush=True)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(
        {'machine': origin.machine(), 'rounds': found, 'noise': noise}, indent=2) + '\n')


def _measured(privacy, batch):
  trainer = tv.Experiment(
      tv.Task(_images(), model='cnn_dropout'), privacy=privacy, participation=tv.Fixed(1), rounds=1,
      client=tv.Client(tv.sgd(0.01), epochs=1, batch_size=batch)).prepare()
  state, seconds = trainer.begin(), []
  for round_num in range(1, 2 + _ROUNDS):
    started = time.perf_counter()
    trainer.next(state, round_num, [0])
    seconds.append(time.perf_counter() - started)
  return _EXAMPLES / min(seconds[1:])


def _noise():
  """Returns the milliseconds of the key stream and of the Gaussian numbers for one step, in this process."""
  import tensorflow as tf
  sigma = float(integer_grid.STEPS)
  words = integer_gaussian.words_of(_PARAMETERS, sigma)
  key, nonce = tf.constant(range(8), tf.uint32), tf.constant(range(3), tf.uint32)
  stream = tf.function(lambda key, nonce: chacha20.key_stream(key, nonce, words))
  numbers = tf.function(lambda words: integer_gaussian.gaussian_of(words, _PARAMETERS, sigma))
  drawn = stream(key, nonce)
  return {'key_stream': _best(lambda: stream(key, nonce)), 'gaussian_numbers': _best(lambda: numbers(drawn))}


def _best(run):
  """Returns the fewest milliseconds of twenty runs, after one that traces."""
  taken = []
  for _ in range(21):
    started = time.perf_counter()
    run().numpy()
    taken.append(1e3 * (time.perf_counter() - started))
  return min(taken[1:])


@functools.cache
def _images():
  rng = np.random.default_rng(0)
  pool = images.Examples(rng.random((_EXAMPLES, 28, 28, 1), np.float32),
                         rng.integers(0, 62, _EXAMPLES).astype(np.int32))
  everything = [np.arange(_EXAMPLES)]
  return images.FederatedImages(
      name='generated', spec=images.ImageSpec.of(pool, list(map(str, range(62)))),
      train=images.ArrayClients(pool, everything, ['client']))


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
