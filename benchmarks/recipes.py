"""Measures recipes: mean and standard deviation, over seeds, of the numbers that a flagfile's run reports.

    python -m benchmarks.recipes --recipe=pipelines/recipes/fashion_mnist_fedavg.flags --seeds=0,1,2 --json=out.json

Runs `pipelines.train` once per seed, each in its own process. JSON keys: recipe, commit, machine, seeds, and for each
number its mean, sd (n - 1) and values.
"""

import functools
import json
import math
import pathlib
import subprocess
import sys
import tempfile

from absl import flags

from benchmarks import origin
from flags import program_flags
from pipelines import launch
from tff_vision.accounting import ledger
from tff_vision.program import json_file

_RECIPE = flags.DEFINE_string('recipe', None, 'Flagfile to run.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds, separated by commas.')
_EXTRA = flags.DEFINE_multi_string('extra', [], 'A further flag of pipelines.train; may be given several times.')


def main() -> None:
  if _RECIPE.value is None or not pathlib.Path(_RECIPE.value).is_file():
    raise ValueError(f'recipe must name a flagfile, found {_RECIPE.value!r}.')
  reports = [_run(seed) for seed in _SEEDS.value]
  content = {'recipe': _RECIPE.value, 'extra': _EXTRA.value, 'seeds': _SEEDS.value,
             'commit': origin.commit(),
             'machine': origin.machine()}
  for name, find in _NUMBERS.items():
    values = [find(report) for report in reports]
    if all(isinstance(value, float) and math.isfinite(value) for value in values):
      content[name] = origin.spread(values)
      print(f'{name}: {content[name]["mean"]:.4f} ± {content[name]["sd"]:.4f} over {len(values)} seeds')
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), content)


_NUMBERS = {
    'accuracy': lambda report: report['evaluation'].get('accuracy'),
    'auc': lambda report: report['evaluation'].get('auc'),
    'average_precision': lambda report: report['evaluation'].get('average_precision'),
    'defects_found_at_5_percent_false_alarms': lambda report: report['evaluation'].get('true_positive_rate_at_0.05'),
    'equal_error_rate': lambda report: report['evaluation'].get('equal_error_rate'),
    'client_worst': lambda report: report['per_client'].get('worst'),
    'client_percentile_10': lambda report: report['per_client'].get('percentile_10'),
    **{f'unseen_{name}': functools.partial(
        lambda name, report: report['unseen'] and report['unseen']['evaluation'].get(name), name)
       for name in ('accuracy', 'auc', 'equal_error_rate', 'true_accept_rate_at_0.01')},
    **{f'{whose}_{name}': functools.partial(
        lambda whose, name, report: (report.get('personal') or {}).get(whose, {}).get(name), whose, name)
       for whose in ('shared', 'own') for name in ('mean', 'worst')},
    'gaining': lambda report: (report.get('personal') or {}).get('gaining'),
    'epsilon': lambda report: ledger.of_report(report).epsilon,  # Infinite without a guarantee.
    'train_seconds': lambda report: report['seconds']['train'],
}


def _run(seed):
  with tempfile.TemporaryDirectory() as folder:
    numbers = pathlib.Path(folder) / 'numbers.json'
    subprocess.run([sys.executable, '-m', 'pipelines.train', f'--flagfile={_RECIPE.value}', *_EXTRA.value,
                    f'--seed={seed}', f'--run_dir={folder}/run', f'--json={numbers}'],
                   stdout=subprocess.DEVNULL, check=True)
    return json.loads(numbers.read_text())


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
