"""Successive halving and the Parzen estimator against the whole grid, on handwritten digits.

    python -m benchmarks.sweep --run_dir=runs/benchmark_sweep

Trains the whole grid, then the same grid with --halving=3, then --tpe proposals of a quarter of its cells, and prints
for each the best accuracy on test images and the rounds that it took. Six minutes on two cores.
"""

import json
import pathlib
import subprocess
import sys

from absl import app, flags

_RUN_DIR = flags.DEFINE_string('run_dir', None, 'Folder to make.', required=True)
_PARALLEL = flags.DEFINE_integer('parallel', 1, 'Runs at a time.')
_GRID = 'client_learning_rate=0.003,0.03,0.3;client_epochs=1,4;model=linear,mlp'
_COMMON = ('--dataset=digits', '--partition_alpha=0.3', '--rounds=27', '--rounds_per_evaluation=3', f'--grid={_GRID}')
_WAYS = {'grid': (), 'halving': ('--halving=3',), 'tpe': ('--tpe=4',)}


def main(argv: list[str]) -> None:
  del argv
  for name, flags_of_way in _WAYS.items():
    folder = pathlib.Path(_RUN_DIR.value, name)
    subprocess.run([sys.executable, '-m', 'pipelines.sweep', *_COMMON, *flags_of_way, f'--run_dir={folder}',
                    f'--parallel={_PARALLEL.value}'], check=True, stdin=subprocess.DEVNULL)
    found = json.loads((folder / 'sweep.json').read_text())
    best = max(row['accuracy']['mean'] for row in found['groups'])
    print(f'{name}: best {found["best"]}, accuracy {best:.4f}, {found["rounds"]} rounds', flush=True)


if __name__ == '__main__':
  app.run(main)
