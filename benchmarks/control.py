"""Federated reinforcement learning for several seeds: mean and standard deviation of catch rates.

    python -m benchmarks.control --seeds=0,1,2 --json=control.json

Each seed draws different environments and weights. Runs `pipelines.control --alone`, with any further `--extra` flag.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile

from absl import flags

from benchmarks import origin
from flags import program_flags
from pipelines import launch
from tff_vision.program import json_file

_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds, separated by commas.')
_EXTRA = flags.DEFINE_multi_string('extra', [], 'A further flag of pipelines.control; may be given several times.')


def main() -> None:
  reports = [_run(seed) for seed in _SEEDS.value]
  content = {}
  for where, evaluations in (('own', [report['evaluation'] for report in reports]),
                             ('unseen', [report['unseen']['evaluation'] for report in reports if report['unseen']])):
    for name in evaluations[0] if evaluations else ():
      found = content[f'{where}_{name}'] = origin.spread([evaluation[name] for evaluation in evaluations])
      print(f'{where} {name}: {found["mean"]:.4f} ± {found["sd"]:.4f}')
  seconds = [report['seconds']['train'] for report in reports]
  print(f'seconds of federated training: {statistics.mean(seconds):.1f}')
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), content)


def _run(seed):
  with tempfile.TemporaryDirectory() as folder:
    subprocess.run([sys.executable, '-m', 'pipelines.control', '--alone', *_EXTRA.value, f'--seed={seed}',
                    f'--run_dir={folder}/run'], stdout=subprocess.DEVNULL, check=True)
    return json_file.read(pathlib.Path(folder) / 'run' / 'report.json')


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
