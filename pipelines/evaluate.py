"""Evaluates the model that a run exported: on the whole test set, per client, and on clients that never trained.

    python -m pipelines.evaluate --run_dir=runs/fashion

The data are built again from the run's config.json; the numbers have the keys of report.json.
"""

import pathlib

from absl import flags

from flags import program_flags
from pipelines import launch, progress
from tff_vision import wording
from tff_vision.program import json_file, run_directory

_RUN_DIR = flags.DEFINE_string('run_dir', None, 'Folder of a finished run.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Where the data of the run lie now, if they were moved.')


def main() -> None:
  if _RUN_DIR.value is None:
    raise ValueError('run_dir is missing: the folder of a finished run.')
  directory = run_directory.RunDirectory(pathlib.Path(_RUN_DIR.value))
  directory.config_at(_DATA_DIR.value), directory.read_report()  # Raise before TensorFlow is imported.

  from tff_vision import experiment
  from tff_vision.runtime.device import visible
  visible.claim()
  found = experiment.open_run(_RUN_DIR.value, data_dir=_DATA_DIR.value).evaluate()
  _show('test set', found)
  if found['unseen']:
    _show('clients that never trained', found['unseen'])
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), found)


def _show(name, found):
  print(f'{name}: {progress.numbers(found["evaluation"])}')
  clients = found['per_client']
  if clients['count']:
    print(f'  {progress.client_title(clients)}: mean {clients["mean"]:.4f}, '
          f'10th percentile {clients["percentile_10"]:.4f}, worst {clients["worst"]:.4f}, '
          f'over {wording.counted(clients["count"], "client")}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
