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
* `scatternet`, `scatternet_shared`: the features, rate and batches of Tramer and Boneh 2021 (0.897 at epsilon 3) in one
  silo, and with every step taken together by three silos that share the noise;
* `causes`: `scatternet` with other features in its place: `scattering`, and its own, but normalised like those;
* `options`: each option of private SGD compared with no option, in one silo of 10,000 images, 8 passes;
* `public`: a private linear layer on the features of a `cnn_private` that was trained on generated handwriting, and
  on the features of an untrained one.

Private SGD, plans, noise and aggregation are the library's own. All cells except the CNNs train the model `scattering`
or another one with fixed features. These are computed once, outside the runs, which changes only the time; see
`private_utility_run`. Runs whose results are in FILE are not repeated.
"""

import json
import pathlib
import statistics
import time

from absl import flags

from benchmarks import origin, private_utility_cells
from flags import program_flags
from pipelines import launch
from tff_vision.program import json_file

_PARTS = ['central', 'silos', 'scatternet', 'scatternet_shared', 'causes', 'clients', 'noise', 'cnn', 'cnn_private',
          'cnn_private_silos', 'cnn_private_shared', 'cnn_from_public', 'cnn_from_public_silos', 'options', 'public']
_CELLS = flags.DEFINE_list('cells', _PARTS, 'Which parts of the table.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds, separated by commas.')


def main() -> None:
  if program_flags.json_file() is None:
    raise ValueError('json is missing: the file that receives the table and lets an interrupted one go on.')
  known = private_utility_cells.cells()
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


def run(cell: private_utility_cells.Cell, seed: int) -> dict[str, float | None]:
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
                         'sd': origin.deviation(values) if len(values) > 1 else None}
  json_file.write(str(file), {
      'commit': origin.commit(),
      'machine': origin.machine(), 'table': table, 'runs': found})


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
