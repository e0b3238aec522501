"""Successive halving and the Parzen estimator against the whole grid.

    python -m benchmarks.sweep --run_dir=runs/benchmark_sweep
    python -m benchmarks.sweep --run_dir=runs/benchmark_sweep_rates --data_dir=WRITERS.npz

Without --data_dir, twelve cells on handwritten digits. With it, the grid of learning rates in half decades around those
that Reddi et al. 2021 (Adaptive Federated Optimization, appendix D) found best for FedAdam on Federated EMNIST,
10^-1.5 at clients and 10^-2.5 at the server: 30 cells on images by many writers, `x`, `y`, `client` and a test set in
one array file.

Trains the whole grid, then the same grid with --halving=3, then --tpe proposals of a third of its cells, and prints for
each the best accuracy on test images and the rounds that it took; sweep.json of each way has the rest. Six minutes on
two cores for digits, half an hour for writers. The same command again goes on where it was stopped.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

from absl import app, flags

_RUN_DIR = flags.DEFINE_string('run_dir', None, 'Folder to make.', required=True)
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Array file of real handwriting by many writers; None: digits.')
_PARALLEL = flags.DEFINE_integer('parallel', 1, 'Runs at a time.')


@dataclasses.dataclass(frozen=True)
class _Setting:
  flags: Sequence[str]
  ways: Mapping[str, Sequence[str]]


def _setting(data_dir: str | None) -> _Setting:
  common = ('--rounds=27', '--rounds_per_evaluation=3')
  if data_dir is None:
    grid = 'client_learning_rate=0.003,0.03,0.3;client_epochs=1,4;model=linear,mlp'
    return _Setting(('--dataset=digits', '--partition_alpha=0.3', *common, f'--grid={grid}'),
                    {'grid': (), 'halving': ('--halving=3',), 'tpe': ('--tpe=4',)})
  grid = ('client_learning_rate=0.00316,0.01,0.0316,0.1,0.316,1;'
          'server_learning_rate=0.000316,0.001,0.00316,0.01,0.0316')
  return _Setting(('--dataset=npz', f'--data_dir={data_dir}', '--partition=natural', '--model=cnn_dropout',
                   '--server_optimizer=adam', '--server_epsilon=1e-4', '--client_epochs=1', '--batch_size=20',
                   '--cohort_size=10', '--sampling=fixed', *common, f'--grid={grid}'),
                  {'grid': (), 'halving': ('--halving=3',), 'tpe': ('--tpe=10',)})


def main(argv: list[str]) -> None:
  del argv
  setting = _setting(_DATA_DIR.value)
  for name, flags_of_way in setting.ways.items():
    folder = pathlib.Path(_RUN_DIR.value, name)
    subprocess.run([sys.executable, '-m', 'pipelines.sweep', *setting.flags, *flags_of_way, f'--run_dir={folder}',
                    f'--parallel={_PARALLEL.value}'], check=True, stdin=subprocess.DEVNULL)
    found = json.loads((folder / 'sweep.json').read_text())
    best = max(row['accuracy']['mean'] for row in found['groups'])
    print(f'{name}: best {found["best"]}, accuracy {best:.4f}, {found["rounds"]} rounds', flush=True)


if __name__ == '__main__':
  app.run(main)
