"""Published settings, run again on data of one's own: mean and standard deviation over seeds beside what was published.

    python -m benchmarks.published --setting=fashion_mnist_niid_dirichlet_fedavg --seeds=3 --json=FILE
    python -m benchmarks.published --setting=mnist_iid --data_dir=DIR --rounds=20

A setting is a recipe of `pipelines/recipes/` with flags that may follow; `published_settings` lists them. Each seed is
one run of `pipelines.train` in WORK_DIR/SETTING; seeds that are finished are not run again, and a run that was stopped
goes on. Where one layer on fixed features is trained under privacy, `benchmarks.published_private` runs instead.

FILE holds setting, recipe, flags, published, source, commit, machine (cores, platform, and the load when it began),
runs (seed -> numbers), and for each number its mean, sd (n - 1) and the number of seeds. Numbers: accuracy and auc of
the last round on the test set; best_accuracy and best_auc, the best of all evaluated rounds, which some papers publish;
rounds_to, the first evaluated round whose test accuracy was at least the setting's aim (missing if none was); epsilon;
worst client, held-out clients (unseen_) and own models (own_, shared_, gaining); seconds of training.
"""

import json
import os
import pathlib
import subprocess
import sys

from absl import flags

from benchmarks import origin, published_settings
from flags import program_flags
from pipelines import launch
from tff_vision.program import json_file

_SETTING = flags.DEFINE_enum('setting', None, sorted(published_settings.SETTINGS), 'What to run.')
_SEEDS = flags.DEFINE_integer('seeds', 3, 'Number of seeds: 0, 1, ...', lower_bound=1)
_ROUNDS = flags.DEFINE_integer('rounds', None, 'Rounds instead of the published ones.', lower_bound=1)
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Folder or file of the data set, as for pipelines.train.')
_EXTRA = flags.DEFINE_multi_string('extra', [], 'A further flag of pipelines.train; may be given several times.')
_WORK_DIR = flags.DEFINE_string('work_dir', 'runs/published', 'Folder of all runs.')


def main() -> None:
  if _SETTING.value is None:
    raise ValueError(f'setting must be one of {", ".join(sorted(published_settings.SETTINGS))}.')
  setting = published_settings.SETTINGS[_SETTING.value]
  given = [f'--flagfile=pipelines/recipes/{setting.recipe}.flags', *setting.flags,
           *([f'--data_dir={_DATA_DIR.value}'] if _DATA_DIR.value else []),
           *([f'--rounds={_ROUNDS.value}'] if _ROUNDS.value else []), *_EXTRA.value]
  folder = pathlib.Path(_WORK_DIR.value) / _folder_name(_SETTING.value)
  folder.mkdir(parents=True, exist_ok=True)
  content = {
      'setting': _SETTING.value, 'recipe': setting.recipe, 'flags': given[1:], 'published': setting.published,
      'source': setting.source,
      'commit': origin.commit(),
      'machine': {**origin.machine(), 'load': os.getloadavg()[0]}, 'runs': {}}
  for seed in range(_SEEDS.value):
    content['runs'][seed] = (_private if setting.fixed_features else _run)(setting, given, folder, seed)
    numbers = list(content['runs'].values())
    for name in dict.fromkeys(name for run in numbers for name in run):
      content[name] = _spread([run[name] for run in numbers if name in run])
    if program_flags.json_file() is not None:
      json_file.write(program_flags.json_file(), content)
  print(f'{_SETTING.value}: published {setting.published} ({setting.source})')
  for name in (name for name in content if isinstance(content[name], dict) and 'mean' in content[name]):
    print(f'  {name}: {content[name]["mean"]:.4f} ± {content[name]["sd"]:.4f} over {content[name]["seeds"]} seeds')


def _folder_name(setting):
  """Returns the folder of a setting; runs that differ in flags must not continue each other."""
  own = (f'{name}={value}' for name, value in (('rounds', _ROUNDS.value), ('data_dir', _DATA_DIR.value)) if value)
  changed = [flag.lstrip('-') for flag in (*own, *_EXTRA.value)]
  return '-'.join([setting, *(flag.replace('/', '_') for flag in changed)])


def _run(setting, given, folder, seed):
  """Returns the numbers of one seed, which is trained or trained further if its report is not in `folder`."""
  numbers = folder / f'seed_{seed}.json'
  if not numbers.exists():
    part = numbers.with_suffix('.part')
    _command('pipelines.train', *given, f'--run_dir={folder / f"seed_{seed}"}', '--resume=auto', f'--seed={seed}',
             f'--json={part}')
    part.replace(numbers)
  return published_settings.numbers_of(json.loads(numbers.read_text()), setting.aim)


def _private(setting, given, folder, seed):
  """Returns the numbers of one seed; all seeds are trained at the first call, with features computed once."""
  del setting
  numbers = folder / 'seeds.json'
  if not numbers.exists() or str(seed) not in json.loads(numbers.read_text()):
    _command('benchmarks.published_private', *given, f'--num_seeds={_SEEDS.value}', f'--json={numbers}')
  return json.loads(numbers.read_text())[str(seed)]


def _command(module, *arguments):
  done = subprocess.run([sys.executable, '-m', module, *arguments], stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL, check=False)
  if done.returncode:
    raise ValueError(f'{" ".join([module, *arguments])} ended with code {done.returncode}.')


def _spread(values):
  values = [value for value in values if value is not None]
  return {**origin.spread(values), 'seeds': len(values)} if values else {}


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
