"""Private SGD inside TFF's executor: examples a second of a client's round, plain and private.

    python -m benchmarks.dp_sgd_worker --json=FILE [--batches=32,256]

One client with the CNN of 1.2 million parameters and generated images; each figure is the best of three rounds after
the first. `private without noise` shows what clipping costs, `private` what the noise of the ChaCha20 key stream adds:
one number a parameter and step, whatever the batch.
"""

import functools
import json
import os
import pathlib
import platform
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
from absl import app, flags

from tff_vision import configs, models, tasks
from tff_vision.aggregation import stack
from tff_vision.data import images
from tff_vision.learning import learning_process
from tff_vision.privacy import plan as plan_lib
from tff_vision.runtime.driver import local

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_BATCHES = flags.DEFINE_list('batches', ['32', '256'], 'Batch sizes.')
_EXAMPLES = 1024
_ROUNDS = 3
_PRIVACY = {
    'plain': configs.PrivacyConfig(),
    'private without noise': configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=0.1, noise_multiplier=0.0,
                                                   delta=1e-5, example_sampling='shuffled'),
    'private': configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=0.1, noise_multiplier=1.0, delta=1e-5,
                                     example_sampling='shuffled'),
}


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  found = []
  with local.local_runtime(threads=os.cpu_count(), max_concurrent_clients=1):
    for batch in map(int, _BATCHES.value):
      for name, privacy in _PRIVACY.items():
        found.append({'method': name, 'batch': batch, 'examples_per_second': _measured(privacy, batch)})
        print(json.dumps(found[-1]), flush=True)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(
        {'machine': {'platform': platform.platform(), 'cores': os.cpu_count()}, 'rounds': found}, indent=2) + '\n')


def _measured(privacy, batch):
  client = configs.ClientConfig(batch_size=batch, client_epochs=1, client_learning_rate=0.01)
  task = tasks.Task(images=_images(), model_builder=models.MODELS['cnn_dropout'], client=client, seed=0)
  plan = plan_lib.build_plan(privacy, configs.CohortConfig(cohort_size=1), population=1, rounds=1, seed=0,
                             sizes=[_EXAMPLES], client=client).for_model(task.keras_model(), task.batch_spec[0])
  task = tasks.Task(images=_images(), model_builder=models.MODELS['cnn_dropout'],
                    client=plan.client_data(client), seed=0)
  learning = learning_process.build_process(
      task, algorithm=configs.AlgorithmConfig(), client=client, server=configs.ServerConfig(),
      aggregator=stack.build_stack(plan), private_training=plan.client_work)
  state = learning.set_model_weights(learning.initialize(), task.initial_weights())
  seconds = []
  for round_num in range(1 + _ROUNDS):
    data = [task.client_dataset(0, round_num)]
    started = time.perf_counter()
    learning.next(state, data)
    seconds.append(time.perf_counter() - started)
  return _EXAMPLES / min(seconds[1:])


@functools.cache
def _images():
  rng = np.random.default_rng(0)
  pool = images.Examples(rng.random((_EXAMPLES, 28, 28, 1), np.float32),
                         rng.integers(0, 62, _EXAMPLES).astype(np.int32))
  everything = [np.arange(_EXAMPLES)]
  return images.FederatedImages(
      name='generated', class_names=tuple(map(str, range(62))), train=images.ArrayClients(pool, everything, ['client']),
      test=images.HeldOut(examples=pool, clients=everything))


if __name__ == '__main__':
  app.run(main)
