"""Trains a vision model over clients whose images stay with them, and reports on it.

    python -m pipelines.train
    python -m pipelines.train --flagfile=pipelines/recipes/fashion_mnist_fedavg.flags --run_dir=runs/fashion
    python -m pipelines.train --plan=plan.json --run_dir=runs/federation

Stops cleanly on Ctrl-C after the round in progress; `--resume --run_dir=DIR` continues, also after a kill.
"""

import dataclasses
import datetime
import functools
import math
import os
import pathlib
import signal
import sys

from absl import flags

from flags import experiment_flags, federation_flags, privacy_flags, runtime_flags
from pipelines import launch, progress
from tff_vision import wording
from tff_vision.accounting import ledger
from tff_vision.data.sources import installed
from tff_vision.program import run_directory
from tff_vision.runtime.worker import processes

_BROKEN = 3  # As in `pipelines.audit`, the exit code if the audit measured more than the guarantee allows.


def main() -> None:
  launch_config = experiment_flags.launch_config().settled()
  budget, saved = privacy_flags.budget_file(), None
  if launch_config.resume:
    saved = run_directory.RunDirectory(pathlib.Path(launch_config.run_dir)).read_config()
  plan_file = federation_flags.plan_file()
  if plan_file is None and saved is not None and saved.data.dataset == 'plan':
    plan_file = saved.data.data_dir
  if plan_file is None:
    runtime, config = runtime_flags.chosen_runtime(), experiment_flags.experiment_config(saved)
  else:
    runtime, config = federation_flags.of_plan(plan_file)
  if launch_config.run_dir is None:
    launch_config = dataclasses.replace(launch_config, run_dir=_fresh_run_dir(config))
  run_directory.RunDirectory(pathlib.Path(launch_config.run_dir)).check_usable(config, resume=launch_config.resume)
  installed.require(config.data)
  stop = _StopOnSignal()

  from tff_vision import experiment  # Imported late: TensorFlow takes seconds, but --help and errors must be fast.
  shown = progress.Progress(rounds=config.program.rounds, title=str(config.algorithm.algorithm))
  introduce = functools.partial(_introduce, runtime, launch_config, config.cohort.cohort_size, shown)
  try:
    result = experiment.run(config, launch_config, runtime=runtime, budget=budget, on_round=shown, on_start=introduce,
                            fewer_clients=not launch_config.resume and not flags.FLAGS['cohort_size'].present,
                            stop_requested=stop.requested)
  except ValueError as error:
    raise ValueError(f'{error}{_kept(error, launch_config.run_dir)}') from error
  shown.close()
  if result.report is None:
    print(f'Stopped after round {result.rounds} of {config.program.rounds}; continue with\n'
          f'  python -m pipelines.train {runtime_flags.to_go_on(launch_config.run_dir)}')
    sys.exit(128 + stop.signal if stop.signal else 0)
  _conclude(result)
  if (result.report.get('one_run_audit') or {}).get('broken'):
    sys.exit(_BROKEN)


def _kept(error, run_dir):
  """Returns how to go on after workers were lost, or refused; '' for other errors, and where no round is finished."""
  from tff_vision.runtime.driver import fleet, stub
  if not isinstance(error, (fleet.TooFewWorkers, stub.RefusedByWorker)):
    return ''
  if not any(run_directory.RunDirectory(pathlib.Path(run_dir)).checkpoints.glob('*')):
    return ''
  return f' Finished rounds are kept; then go on with {runtime_flags.to_go_on(run_dir)}.'


def _fresh_run_dir(config):
  stamp = datetime.datetime.now().strftime('%Y%m%d-%H%M%S-%f')
  return str(pathlib.Path('runs') / f'{config.data.dataset}-{config.algorithm.algorithm}-{stamp}'.replace(':', '_'))


def _introduce(runtime, config, cohort_size, progress_shown, planned):
  from tff_vision.data import images as images_lib
  from tff_vision.objectives import metric
  task, images = planned.task, planned.task.images
  progress_shown.metrics = [one.name for one in metric.shown(metric.of(task.objective), task.objective.metric)]
  model = task.keras_model()
  print(f'{images.name}: {wording.counted(len(images.train), "client")}, '
        f'{wording.counted(len(images.test.examples), "test image")}, '
        f'{wording.counted(len(images.class_names), "class")}, model {model.name} of '
        f'{wording.counted(model.count_params(), "parameter")}.')
  print(f'clients: {_executors(runtime)}.')
  shown = config.show_training_data or planned.plan.releases_exact_metrics
  if len(images.train) < cohort_size:
    print(f'note: all {len(images.train)} clients take part in each round; --cohort_size is {cohort_size} unless it is '
          'given.')
  arithmetic = None if runtime.workers or runtime.runtime == 'device' else processes.note_on_math(runtime.math)
  for note in (*images.notes, *task.notes, *([arithmetic] if arithmetic else [])):
    if shown or not isinstance(note, images_lib.Counted):
      print(f'note: {note}')


def _executors(runtime):
  """Returns a text that says where clients are trained, and how many at a time."""
  if runtime.runtime in ('device', 'auto'):
    from tff_vision.runtime.device import visible
    from tff_vision.runtime.driver import device
    if visible.chosen(runtime) == 'device':
      return device.described()
  if runtime.workers:
    return f'on {wording.counted(runtime.num_workers, "worker")}, as each was started'
  threads = 'threads as TensorFlow chooses' if runtime.threads is None else f'{runtime.threads} thread(s) each'
  return (f'{runtime.max_concurrent_clients or os.cpu_count()} at a time on each of {runtime.num_workers or 1} '
          f'executor(s), {threads}, {runtime.math} (--max_concurrent_clients, --threads, --math)')


def _conclude(result):
  found = result.report
  clients = found['per_client']
  speed = f' ({found["examples_per_second"]:.0f} examples/s)' if 'examples_per_second' in found else ''
  print(f'{progress.numbers(found["evaluation"])}  after {wording.counted(found["rounds"], "round")}, '
        f'{found["seconds"]["train"]:.1f} s of training{speed}')
  if clients['count']:
    print(f'{progress.client_title(clients)}: mean {clients["mean"]:.4f}, '
          f'10th percentile {clients["percentile_10"]:.4f}, worst {clients["worst"]:.4f}, '
          f'over {wording.counted(clients["count"], "client")}')
  if found.get('personal'):
    _conclude_personal(found)
  from tff_vision.report import shared_model  # Imported late: it loads TensorFlow.
  if own := shared_model.sentence(found):
    print(f'note: {own}')
  if found['unseen']:
    print(f'clients that never trained: {progress.numbers(found["unseen"]["evaluation"])}')
  print(f'privacy: {result.ledger.sentence()}')
  if isinstance(result.ledger, ledger.Ledger) and result.ledger.delta > 0.01:
    print(f'note: with probability {wording.at_most(result.ledger.delta, ".3g")} the guarantee fails altogether; '
          'so few clients or examples make no smaller default. Choose --delta, or protect examples instead of clients.')
  else:
    for warning in result.ledger.warnings:
      print(f'note: {warning}')
  if 'one_run_audit' in found:
    print(found['one_run_audit']['sentence'])
  if 'budget_file' in found:
    from tff_vision.accounting import budget_totals
    print(budget_totals.Totals.from_report(found).sentence(found['budget_file']['file']))
  if found['secure_sum']['mode'] != 'none':
    print(_secure_sentence(found['secure_sum']))
  print(_traffic_sentence(found['traffic']))
  if 'attack' in found:
    print(_attack_sentence(found['attack']))
  for warning in found.get('warnings', ()):
    print(f'warning: {warning}')
  if result.directory.is_wiped():
    print('secrets: checkpoints, journal and what clients kept are wiped (--keep_secrets leaves them)')
  print(f'report: {result.directory.report_html}')
  print(f'model:  {result.directory.export / "model.keras"}')


def _conclude_personal(found):
  shared, own = found['personal']['shared'], found['personal']['own']
  if own['count']:
    print(f'own models: mean {own["mean"]:.4f}, against {shared["mean"]:.4f} of the shared one; '
          f'{found["personal"]["gaining"]:.0%} of {own["count"]} clients gain')


def _secure_sentence(hidden):
  return (f'secure sum: {hidden["mode"]} ({hidden["scheme"]}), {hidden["security_bits"]} bits of security'
          f'{_opening(hidden)}; hidden: '
          f'{", ".join(hidden["hidden"])}; {hidden["bytes_per_parameter"]:.1f} bytes a parameter, '
          f'{hidden["client_seconds"]:.2f} s a client and round. {hidden["simulation"]}')


def _opening(hidden):
  bits = hidden.get('decryption_security', {}).get('statistical_bits')
  return '' if bits is None else f', {math.floor(bits)} statistical ones of joint decryption over all rounds'


def _traffic_sentence(traffic):
  return (f'traffic: a client receives {traffic["bytes_down_per_client_and_round"]:,} bytes and sends '
          f'{traffic["bytes_up_per_client_and_round"]:,} bytes a round')


def _attack_sentence(attack):
  opened = attack.get('backdoor_success_rate')
  return (f'attack: {attack["attack"]} by {attack["attackers"]} of {attack["clients"]} clients' +
          (f'; the backdoor opens for {opened:.4f} of patched test images' if opened is not None else ''))


class _StopOnSignal:
  """The first SIGINT or SIGTERM asks for a stop after the round; a second one ends the process at once."""

  def __init__(self):
    self.signal = 0
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, self._handle)

  def _handle(self, number, frame):
    del frame
    self.signal = number
    print('Stopping after this round ...', file=sys.stderr, flush=True)
    signal.signal(number, signal.SIG_DFL)

  def requested(self) -> bool:
    return self.signal != 0


if __name__ == '__main__':
  launch.launch(main, flag_groups=(*experiment_flags.GROUPS, *runtime_flags.GROUPS, *privacy_flags.BUDGET_FILE,
                                   *federation_flags.PLAN))
