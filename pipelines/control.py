"""Trains a policy by federated reinforcement learning: each client plays the game «catch» from pixels.

    python -m pipelines.control
    python -m pipelines.control --run_dir=runs/control --alone
    python -m pipelines.control --run_dir=runs/masked --secure_sum=masks --rounds=20

Environments differ in wind, paddle and camera. --alone trains every client by itself too, for comparison.
--client_epochs is the number of updates that a client makes in a round, --batch_size the number of episodes that it
plays for each. `--resume --run_dir=DIR` continues a run that was stopped. docs/how-to/reinforcement.md lists the
keys of report.json.
"""

import dataclasses
import datetime
import pathlib

from absl import flags

from flags import experiment_flags, runtime_flags, study_flags
from pipelines import launch, progress
from tff_vision import configs
from tff_vision.program import run_directory
from tff_vision.studies.control import control_config


def main() -> None:
  launch_config, runtime = experiment_flags.launch_config().settled(), runtime_flags.chosen_runtime()
  read = {field.name for section in (*configs.sections(control_config.ControlExperiment).values(), configs.LaunchConfig)
          for field in dataclasses.fields(section)} - {'keep_secrets', 'show_training_data'}
  experiment_flags.refuse_others(read, 'a client that plays has no images, and nothing is promised about its episodes')
  for name in ('stop_after', 'tracker', 'tracker_dir'):
    if flags.FLAGS[name].present:
      raise ValueError(f'{name}={flags.FLAGS[name].value!r} has no effect here: pipelines.train and pipelines.sweep '
                       'read it.')
  if runtime.data_placement == 'worker':
    raise ValueError('data_placement=worker has no effect here: a client that plays has no images to read.')
  if runtime.math == 'float16':
    raise ValueError('math=float16 does not go with clients that play: their losses are not scaled.')
  base = control_config.ControlExperiment()
  if launch_config.resume:
    base = run_directory.RunDirectory(pathlib.Path(launch_config.run_dir), type(base)).read_config()
  if launch_config.run_dir is None:
    folder = pathlib.Path('runs') / f'control-{datetime.datetime.now():%Y%m%d-%H%M%S-%f}'
    launch_config = dataclasses.replace(launch_config, run_dir=str(folder))
  config = experiment_flags.any_config(base)

  from tff_vision.studies.control import (
    policy_training,  # Imported late: TensorFlow takes seconds, but --help and errors must be fast.
  )
  shown = progress.Progress(rounds=config.program.rounds, title='policies')
  shown.metrics = policy_training.METRICS
  found = policy_training.run(config, launch_config, runtime=runtime, on_round=shown)
  shown.close()
  _show('environments of the clients', found['evaluation'])
  if found['unseen']:
    _show('environments that nobody trained in', found['unseen']['evaluation'])
  print(f'report: {pathlib.Path(launch_config.run_dir) / "report.html"}')
  print(f'policy: {pathlib.Path(launch_config.run_dir) / "export" / "policy.keras"}')


def _show(name, rates):
  print(f'{name}: {progress.numbers(rates)}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=(*study_flags.CONTROL, *experiment_flags.GROUPS, *runtime_flags.GROUPS))
