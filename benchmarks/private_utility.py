"""Accuracy at a given epsilon on Fashion-MNIST: the utility table of docs/reference/results.md.

    nice python -m benchmarks.private_utility --json=FILE [--cells=central,silos,clients,noise,cnn,...] [--seeds=0,1,2]

Test accuracy, mean and standard deviation over seeds, of

* `central`: example-level DP-SGD in one silo of 60,000 images, delta = 1e-5;
* `silos`: the same in three silos of 20,000, each with its own privacy guarantee, averaged every two passes;
* `clients`: client-level DP-FedAvg over Poisson cohorts, delta = 1e-6. 10,000 clients are SIMULATED by cohort scaling:
  1,000 clients of 60 images train, 50 a round, and the noise is that of cohorts ten times as large;
* `noise`: the same with cohorts in a fixed order and without sampling assumption: independent, tree and BLT noise;
* `cnn`: `central` with the CNN of Papernot et al. 2021 (0.861 at epsilon 2.7) in place of scattering features;
* `cnn_private`, `cnn_private_silos`: `central` and `silos` at epsilon 2.7 with the model `cnn_private`, trained end to
  end; its clients return averages of weights. Rates and passes were chosen on 10,000 of the training images; those of
  three silos were finally chosen by the test accuracy of seed 0;
* `cnn_private_shared`: three silos that take every step together, with noise that they share (`example_distributed`);
  the model `cnn_private` after the last of 1,172 steps;
* `cnn_from_public`, `cnn_from_public_silos`: the same, starting from convolutions trained on generated handwriting;
* `options`: each option of private SGD compared with no option, in one silo of 10,000 images, 8 passes;
* `public`: a private linear layer on the features of a `cnn_private` that was trained on generated handwriting, and
  on the features of an untrained one.

Private SGD, plans, noise and aggregation are the library's own. All cells except the CNNs train the model `scattering`
or another one with fixed features. These are computed once, outside the runs, which changes only the time; see
`private_utility_run`. Runs whose results are in FILE are not repeated.
"""

import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import time

from absl import flags

from flags import program_flags
from pipelines import launch
from tff_vision import configs
from tff_vision.program import json_file

_PARTS = ['central', 'silos', 'clients', 'noise', 'cnn', 'cnn_private', 'cnn_private_silos', 'cnn_private_shared',
          'cnn_from_public', 'cnn_from_public_silos', 'options', 'public']
_CELLS = flags.DEFINE_list('cells', _PARTS, 'Which parts of the table.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds, separated by commas.')
_SCALE = 10  # Number of simulated clients per training client.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """One number of the table, for each seed.

  Attributes:
    row: The row of the table; it shows several epsilons side by side.
    epsilon: The budget; None adds no noise to the same clipped updates.
    model: `scattering`, `public` or `untrained` (one linear layer on these features), or a key of MODELS.
    images: Number of training images, drawn by the seed; None for all.
    num_clients: Number of clients; the images are divided evenly among them.
    scale: Number of clients that each client stands for.
    from_public: Whether the convolutions of `cnn_private` start from those trained on generated handwriting.
  """
  row: str
  epsilon: float | None
  model: str
  num_clients: int
  cohort: configs.CohortConfig
  client: configs.ClientConfig
  server: configs.ServerConfig
  rounds: int
  privacy: configs.PrivacyConfig
  images: int | None = None
  scale: int = 1
  from_public: bool = False

  @property
  def key(self) -> str:
    return f'{self.row}, epsilon {"inf" if self.epsilon is None else f"{self.epsilon:g}"}'


def cells() -> dict[str, list[Cell]]:
  """Returns the table's cells by part."""
  return {
      'central': [_example_cell('central', epsilon, 1) for epsilon in (1.0, 3.0, 8.0, None)],
      'silos': [_example_cell('silos', epsilon, 3) for epsilon in (1.0, 3.0, 8.0, None)],
      'clients': [_client_cell('clients', epsilon, 'poisson', privacy='client_gaussian')
                  for epsilon in (1.0, 3.0, 8.0, None)],
      'noise': [_client_cell(f'noise {name}', epsilon, 'round_robin', **mechanism)
                for epsilon in (0.5, 1.0, 3.0) for name, mechanism in _CORRELATIONS.items()],
      'cnn': [_cnn_cell()],
      'cnn_private': [_private_cnn_cell('cnn_private', 1)],
      'cnn_private_silos': [_private_cnn_cell('cnn_private silos', 3)],
      'cnn_private_shared': [_shared_cell()],
      'cnn_from_public': [dataclasses.replace(_private_cnn_cell('cnn_private from public', 1), from_public=True)],
      'cnn_from_public_silos': [
          dataclasses.replace(_private_cnn_cell('cnn_private from public silos', 3), from_public=True)],
      'options': [_option_cell(name, epsilon, **options)
                  for epsilon in (1.0, 3.0, 8.0) for name, options in _OPTIONS.items()],
      'public': [_head_cell(model, epsilon) for epsilon in (1.0, 3.0, 8.0) for model in ('public', 'untrained')],
  }


_CORRELATIONS = {
    'independent': {'privacy': 'dp_mf', 'mf_strategy': 'banded', 'mf_bands': 1},
    'tree': {'privacy': 'dp_ftrl'},
    'blt': {'privacy': 'dp_mf', 'mf_strategy': 'blt'},
}


_OPTIONS = {
    'none': {},
    'average': {'example_average': 0.99},
    'views': {'example_copies': 2, 'example_shift': 1},
    'mirrored views': {'example_copies': 2, 'example_mirror': True},
    'adaptive clip': {'example_adaptive_clip': True},
    'blt': {'example_noise': 'blt', 'example_sampling': 'cyclic'},
    'amplified': {'example_noise': 'amplified'},
}


def _example_cell(row, epsilon, silos):
  batch, rate, rounds, epochs = (2048, 8.0, 1, 8) if silos == 1 else (1024, 16.0, 4, 2)
  return Cell(
      row=row, epsilon=epsilon, model='scattering', num_clients=silos, rounds=rounds,
      cohort=configs.CohortConfig(cohort_size=silos), server=configs.ServerConfig(),
      client=configs.ClientConfig(client_optimizer='sgdm', client_learning_rate=rate, client_epochs=epochs,
                                  batch_size=batch),
      privacy=_privacy(epsilon, 1e-5, privacy='example_dp_sgd', clip_norm=0.1))


def _cnn_cell():
  return Cell(
      row='cnn', epsilon=2.7, model='cnn_tanh', num_clients=1, rounds=1,
      cohort=configs.CohortConfig(cohort_size=1), server=configs.ServerConfig(),
      client=configs.ClientConfig(client_optimizer='sgdm', client_learning_rate=4.0, client_epochs=40,
                                  batch_size=2048),
      privacy=_privacy(2.7, 1e-5, privacy='example_dp_sgd', clip_norm=0.1))


def _private_cnn_cell(row, silos):
  batch, rate, clip, rounds, epochs, average = (
      (2048, 8.0, 0.1, 1, 40, 0.99) if silos == 1 else (1024, 10.0, 0.1, 15, 2, 0.8))
  return Cell(
      row=row, epsilon=2.7, model='cnn_private', num_clients=silos, rounds=rounds,
      cohort=configs.CohortConfig(cohort_size=silos), server=configs.ServerConfig(),
      client=configs.ClientConfig(client_optimizer='sgdm', client_learning_rate=rate, client_epochs=epochs,
                                  batch_size=batch),
      privacy=_privacy(2.7, 1e-5, privacy='example_dp_sgd', clip_norm=clip, example_average=average))


def _shared_cell():
  # 683 is a third of the batches of one silo.
  return Cell(
      row='cnn_private shared', epsilon=2.7, model='cnn_private', num_clients=3, rounds=1172,
      cohort=configs.CohortConfig(cohort_size=3),
      server=configs.ServerConfig(server_optimizer='sgdm', server_learning_rate=8.0),
      client=configs.ClientConfig(batch_size=683),
      privacy=_privacy(2.7, 1e-5, privacy='example_distributed', clip_norm=0.1))


def _option_cell(name, epsilon, **options):
  return Cell(
      row=f'options {name}', epsilon=epsilon, model='cnn_private', images=10_000, num_clients=1, rounds=1,
      cohort=configs.CohortConfig(cohort_size=1), server=configs.ServerConfig(),
      client=configs.ClientConfig(client_optimizer='sgdm', client_learning_rate=8.0, client_epochs=8, batch_size=512),
      privacy=_privacy(epsilon, 1e-5, privacy='example_dp_sgd', clip_norm=0.1, **options))


def _head_cell(model, epsilon):
  return dataclasses.replace(_example_cell(f'{model} features', epsilon, 1), model=model)


def _client_cell(row, epsilon, sampling, **mechanism):
  return Cell(
      row=row, epsilon=epsilon, model='scattering', num_clients=1000, rounds=40, scale=_SCALE,
      cohort=configs.CohortConfig(sampling=sampling, cohort_size=50),
      server=configs.ServerConfig(server_optimizer='sgdm', server_learning_rate=3.0),
      client=configs.ClientConfig(client_learning_rate=0.01, client_epochs=1, batch_size=20),
      privacy=_privacy(epsilon, 1e-6, clip_norm=0.1, **mechanism))


def _privacy(epsilon, delta, **mechanism):
  budget = {'noise_multiplier': 0.0} if epsilon is None else {'target_epsilon': epsilon}
  return configs.PrivacyConfig(delta=delta, **budget, **mechanism)


def main() -> None:
  if program_flags.json_file() is None:
    raise ValueError('json is missing: the file that receives the table and lets an interrupted one go on.')
  known = cells()
  if wrong := sorted(set(_CELLS.value) - set(known)):
    raise ValueError(f'cells must be among {", ".join(known)}; found {", ".join(wrong)}.')
  file = pathlib.Path(program_flags.json_file())
  found = json.loads(file.read_text())['runs'] if file.exists() else {}
  # Seed by seed, so that an interrupted table has a value in every cell.
  for seed in _SEEDS.value:
    for cell in (cell for part in _CELLS.value for cell in known[part]):
      key = f'{cell.key}, seed {seed}'
      if key not in found:
        found[key] = run(cell, int(seed))
        _write(file, known, found)
        print(f'{key}: {found[key]}', flush=True)
  _write(file, known, found)


def run(cell: Cell, seed: int) -> dict[str, float | None]:
  """Trains once and returns accuracy, privacy cost and seconds."""
  from benchmarks import private_utility_run
  started = time.monotonic()
  return {**private_utility_run.accuracy(cell, seed), 'seconds': round(time.monotonic() - started, 1)}


def _write(file, known, found):
  table = {}
  for cell in (cell for part in known.values() for cell in part):
    values = [result['accuracy'] for key, result in found.items() if key.startswith(f'{cell.key}, seed ')]
    if values:
      table[cell.key] = {'mean': statistics.mean(values), 'seeds': len(values),
                         'sd': statistics.stdev(values) if len(values) > 1 else None}
  json_file.write(str(file), {
      'commit': subprocess.run(['git', 'rev-parse', 'HEAD'], capture_output=True, text=True).stdout.strip(),
      'machine': {'cores': os.cpu_count(), 'platform': platform.platform()}, 'table': table, 'runs': found})


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
