"""Compares, for each hospital, several ways to train one model on images that may not leave the hospitals.

    python -m pipelines.hospitals
    python -m pipelines.hospitals --dataset=medmnist:pneumoniamnist --partition=quantity --num_clients=3
    python -m pipelines.hospitals --dataset=folder --data_dir=films --client_test_fraction=0.2 --run_dir=runs/hospitals

Each hospital alone, all images pooled, FedAvg, FedProx, a personal variant, FedAvg with example-level differential
privacy, with encrypted updates, and with both: AUC and balanced accuracy at every hospital with bootstrap intervals,
calibration, epsilon of each hospital; as table and figures in report.html. Each hospital's decision threshold is
chosen on images kept back from its training. Of --model=scattering and scatternet the part that is never trained is
computed once. The same command again continues a comparison that was stopped. At the end the models are wiped
(--keep_secrets leaves them in run_dir/secret): most are trained without a promise on images that others promise
something to.
"""

import dataclasses
import datetime
import pathlib
import sys

from absl import flags

from flags import data_flags, experiment_flags, privacy_flags, program_flags, study_flags, training_flags
from pipelines import launch, progress
from tff_vision import configs, wording
from tff_vision.accounting import ledger
from tff_vision.data.sources import installed
from tff_vision.program import json_file
from tff_vision.studies.hospitals import claim

# The flags that are read: without those that the ways of training set themselves, and those that nothing here reads.
_READ = (*data_flags.IMAGE_GROUPS, *data_flags.MODEL, training_flags.ALGORITHM.only('proximal_strength'),
         training_flags.CLIENT, training_flags.SERVER, program_flags.PROGRAM[0].only('rounds', 'seed'),
         program_flags.LAUNCH.only('run_dir', 'keep_secrets', 'show_training_data'), program_flags.OUTPUT,
         *study_flags.HOSPITALS, *privacy_flags.BUDGET_FILE)
_DEFAULT = configs.ExperimentConfig(
    data=configs.DataConfig(dataset='synthetic_chest:large', partition='natural'),
    model=configs.ModelConfig(model='scattering'),
    client=configs.ClientConfig(client_learning_rate=0.008, client_epochs=2, batch_size=32),
    program=configs.ProgramConfig(rounds=40))
# Data sets whose images already belong to clients. Other data sets are split into three hospitals that differ in size
# and prevalence.
_WITH_CLIENTS = ('synthetic_chest', 'synthetic_chest:large', 'folder', 'parquet', 'webdataset', 'leaf')


def main() -> None:
  experiment_flags.refuse_others({name for group in _READ for name in group.names},
                                 'the comparison sets it, way by way, or has no use for it')
  config = experiment_flags.experiment_config(_defaults())
  study = study_flags.study()
  budget = privacy_flags.budget_file()
  installed.require(config.data)
  launch_config = experiment_flags.launch_config()
  run_dir = pathlib.Path(launch_config.run_dir or
                         pathlib.Path('runs') / f'hospitals-{datetime.datetime.now():%Y%m%d-%H%M%S-%f}')
  claim.check(run_dir, config, study)

  from tff_vision.data import build  # Imported late: TensorFlow takes seconds, but --help and errors must be fast.
  from tff_vision.data import images as images_lib
  from tff_vision.studies.hospitals import study as study_lib
  images = build.build(config.data, seed=config.program.seed)
  for note in images.notes:
    if launch_config.show_training_data or not isinstance(note, images_lib.Counted):
      print(f'note: {note}')
  content = study_lib.run(images, config, study, run_dir, budget=budget, keep_secrets=launch_config.keep_secrets,
                          show_training_data=launch_config.show_training_data,
                          on_model=_Models(study_lib.number_of_models(len(images.train)), study_lib.title))
  _show(content)
  if 'budget_file' in content:
    from tff_vision.accounting import budget_totals
    print(budget_totals.Totals.from_report(content).sentence(budget.budget_file))
    print('note: of this comparison the private ways are charged; the others promise nothing, and whoever sees them is '
          'outside of the budget.')
  print(f'report: {run_dir / "report.html"}')
  if launch_config.json is not None:
    json_file.write(launch_config.json, content)


def _defaults():
  """Returns the default experiment; flags replace its values."""
  dataset = flags.FLAGS['dataset']
  if not dataset.present or dataset.value in _WITH_CLIENTS:
    return _DEFAULT
  data = configs.DataConfig(num_clients=3)
  if flags.FLAGS['partition'].value == 'dirichlet':
    data = dataclasses.replace(data, partition_alpha=2.0)
  return dataclasses.replace(_DEFAULT, data=data)


class _Models:
  """Says which model is trained, how good it is, and, to a terminal alone, how much time is left.

  Lines are kept in logs, and times of private training tell the sizes of random batches.
  """

  def __init__(self, number, title):
    self._number = number
    self._title = title
    self._done = 0
    self._left = progress.TimeLeft(number)

  def __call__(self, key: str, auc: float | None) -> None:
    if auc is None:
      self._left.measure(self._done)
      print(f'[{self._done + 1}/{self._number}] {self._title(key)}: trains', flush=True)
      return
    self._done += 1
    self._left.measure(self._done)
    left = self._left.words() if sys.stdout.isatty() else ''
    print(f'[{self._done}/{self._number}] {self._title(key)}: AUC {auc:.3f} at the hospital where it is worst' +
          (f'  left {left}' if left else ''), flush=True)


def _show(content):
  names = [one['hospital'] for one in content['hospitals']]
  print(f'\n{"AUC at":>32}  ' + '  '.join(f'{name:>22}' for name in names))
  for way in content['ways'].values():
    print(f'{way["title"]:>32}  ' + '  '.join(_cell(way['hospitals'][name]) for name in names))
  for key, stated in content['privacy'].items():
    spent = ledger.Ledger.from_json(stated)
    each = ', '.join(f'{name} {wording.at_most(one.smallest_epsilon)}'
                     for name, one in zip(names, spent.per_client, strict=True))
    print(f'{content["ways"][key]["title"]}: {spent.sentence(each)}')


def _cell(found):
  low, high = found['auc_interval']
  return f'{found["auc"]:.3f} ({low:.3f}-{high:.3f})'.rjust(22)


if __name__ == '__main__':
  launch.launch(main, flag_groups=(*experiment_flags.GROUPS, *study_flags.HOSPITALS, *privacy_flags.BUDGET_FILE),
                shown=_READ, defaults=_DEFAULT)
