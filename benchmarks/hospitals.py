"""Runs the comparison over three hospitals for several seeds: mean and standard deviation of each way.

    python -m benchmarks.hospitals --seeds=0,1,2 --run_dir=runs/hospitals --json=hospitals.json
    python -m benchmarks.hospitals --extra=--flagfile=pipelines/recipes/pneumonia_study.flags \
        --extra=--data_dir=pneumonia.npz

Each seed gives a different division of the images, different weights and, for private ways, different noise. A second
run continues the first one. Of each way: by how much it is behind pooled and ahead of the best foreign model, at the
hospital where this is worst, and its AUC: the mean over hospitals, weighted by their test images, and the worst.
"""

import pathlib
import statistics
import subprocess
import sys

from absl import flags

from benchmarks import origin
from flags import program_flags
from pipelines import launch
from tff_vision.program import json_file

_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds.')
_EXTRA = flags.DEFINE_multi_string('extra', [], 'A further flag of pipelines.hospitals; may be given several times.')
_RUN_DIR = flags.DEFINE_string('run_dir', 'runs/hospitals', 'Folder of all comparisons.')


def main() -> None:
  found = []
  for seed in _SEEDS.value:
    folder = pathlib.Path(_RUN_DIR.value) / f'seed_{seed}'
    done = subprocess.run([sys.executable, '-m', 'pipelines.hospitals', *_EXTRA.value, f'--seed={seed}',
                           f'--run_dir={folder}'],
                          stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
      raise ValueError(f'seed {seed} ended with code {done.returncode}.')
    found.append(json_file.read(folder / 'report.json'))
  rows = {key: {name: _spread([one['findings'][key][name] for one in found])
                for name in ('behind_pooled', 'ahead_of_foreign')} for key in found[0]['findings']}
  for key in found[0]['ways']:
    rows.setdefault(key, {}).update({name: _spread([of_way(one, key)[name] for one in found])
                                     for name in ('auc', 'auc_worst')})
  rows['epsilon'] = {key: _spread([max(client['epsilon'] for client in one['privacy'][key]['per_client'])
                                   for one in found]) for key in found[0]['privacy']}
  for key, row in rows.items():
    print(f'{key:>18}  ' + '  '.join(f'{name} {value["mean"]:+.4f} ± {value["deviation"]:.4f}'
                                     for name, value in row.items()))
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), rows)


def of_way(report: dict, key: str) -> dict[str, float]:
  """Returns the AUC of a way over the hospitals of a comparison: the mean by test images, and the worst."""
  aucs, sizes = zip(*((report['ways'][key]['hospitals'][one['hospital']]['auc'], one['test_images'])
                      for one in report['hospitals']), strict=True)
  return {'auc': sum(auc * size for auc, size in zip(aucs, sizes, strict=True)) / sum(sizes), 'auc_worst': min(aucs)}


def _spread(values):
  return {'mean': statistics.mean(values), 'deviation': origin.deviation(values), 'values': values}


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
