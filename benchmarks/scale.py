"""Seconds per client in cohorts of 10, 100 and 1,000 on 1 and 2 workers, each in its own network namespace.

    python -m benchmarks.scale --json=FILE [--repeats=2] [--delay_ms=20 --loss_percent=0.1]

Two targets: the cost per client is constant within 15 % from 100 to 1,000 clients per round, and the driver's memory
does not grow with the cohort. The workers hold the clients' examples; the model is the MLP for 28x28 images. Bytes are
the bytes of messages per round and worker, counted by the driver.
"""

import json
import os
import pathlib
import tempfile
import time

from absl import flags

from benchmarks import namespaces, origin
from pipelines import launch

_JSON = flags.DEFINE_string('json', None, 'File that receives the numbers.')
_COHORTS = flags.DEFINE_list('cohorts', ['10', '100', '1000'], 'Clients in a round.')
_WORKERS = flags.DEFINE_list('worker_counts', ['1', '2'], 'Numbers of workers.')
_EXAMPLES = flags.DEFINE_integer('examples_per_client', 20, 'Images of a client.')
_REPEATS = flags.DEFINE_integer('repeats', 2, 'Rounds measured for each cohort.')
_DELAY = flags.DEFINE_float('delay_ms', 20.0, 'Added to each direction, where Linux has netem.')
_LOSS = flags.DEFINE_float('loss_percent', 0.1, 'Of packets, where Linux has netem.')


def main() -> None:
  if not namespaces.available():
    raise ValueError('network namespaces need root and iproute2.')
  numbers = {'machine': origin.measurement(), 'runs': []}
  with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o755)
    images = _federation(pathlib.Path(folder))
    for count in map(int, _WORKERS.value):
      with namespaces.workers(count, options=[f'--data_root={folder}'], delay_ms=_DELAY.value,
                              loss_percent=_LOSS.value) as (addresses, shaped):
        for found in _measure(addresses, images):
          numbers['runs'].append({'workers': count, 'delay_ms': _DELAY.value if shaped else 0,
                                  'loss_percent': _LOSS.value if shaped else 0, **found})
          print(json.dumps(numbers['runs'][-1]), flush=True)
  text = json.dumps(numbers, indent=2) + '\n'
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(text)


def _federation(folder):
  """Writes every client's file and returns the clients' images."""
  import numpy as np

  from tff_vision.data import images, records
  population, size = max(map(int, _COHORTS.value)), _EXAMPLES.value
  rng = np.random.default_rng(0)
  pool = images.Examples(rng.integers(0, 256, (10 * size, 28, 28, 1)).astype(np.uint8),
                         rng.integers(0, 10, 10 * size).astype(np.int32))
  clients = images.ArrayClients(pool, [rng.permutation(10 * size)[:size] for _ in range(population)],
                                [str(i) for i in range(population)])
  for client in range(population):
    records.write(folder / records.file_name(client), clients.examples(client))
  return images.FederatedImages(name='noise', train=clients, spec=images.ImageSpec.of(pool, list(map(str, range(10)))))


def _measure(addresses, images):
  """Yields the numbers of each cohort, smallest first."""
  import tff_vision as tv
  config = tv.RuntimeConfig(runtime='workers', workers=tuple(addresses), data_placement='worker')
  experiment = tv.Experiment(tv.Task(images, model='mlp'), client=tv.Client(epochs=1), runtime=config,
                             participation=tv.Fixed(len(images.train)))
  with tv.open_runtime(config) as runtime:
    trainer = experiment.prepare(runtime)
    state, cohorts = trainer.begin(), sorted(map(int, _COHORTS.value))
    _round(trainer, state, cohorts[0])  # Compiles the computations, here and on the workers.
    for cohort in cohorts:
      before = (*_traffic(runtime), _executors_cpu())
      seconds = [_round(trainer, state, cohort) for _ in range(_REPEATS.value)]
      sent, received, cpu = ((after - earlier) / len(seconds)
                             for after, earlier in zip((*_traffic(runtime), _executors_cpu()), before, strict=True))
      yield {'cohort': cohort, 'seconds': round(min(seconds), 3),
             'milliseconds_a_client': round(1000 * min(seconds) / cohort, 2),
             'executor_cpu_milliseconds_a_client': round(1000 * cpu / cohort, 2),
             'megabytes_sent': round(sent / 1e6, 3), 'megabytes_received': round(received / 1e6, 3),
             'driver_rss_mb': _rss_mb()}


def _round(trainer, state, cohort):
  """Returns the seconds of one round."""
  started = time.perf_counter()
  trainer.next(state, 1, range(cohort))
  return time.perf_counter() - started


def _executors_cpu():
  """Returns the CPU seconds so far of all executors below this process; on a busy machine, fairer than wall time."""
  import psutil
  return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True)
             if child.name() in ('executor', 'worker_binary'))


def _traffic(runtime):
  """Returns (bytes sent, bytes received) so far, the mean over workers."""
  services = [service for worker in runtime.workers for service in worker.traffic]
  return [sum(sum(counted.values()) for counted in counts) / len(runtime.workers)
          for counts in ([s.sent for s in services], [s.received for s in services])]


def _rss_mb():
  import psutil
  return round(psutil.Process().memory_info().rss / 2**20)


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
