"""Attacks a finished run and compares what the attacks measure with what the ledger states.

    python -m pipelines.audit --run_dir=runs/private
    python -m pipelines.audit --run_dir=runs/private --canaries=400 --json=audit.json

Canaries are planted in the run's own aggregation, built again from its config with fresh noise; membership is inferred
from the exported model, by its loss and by its confidence beside that of shadow models; an image is reconstructed from
one update, with and without the run's noise. What is computed from training images is no part of any promise: of a run
under one it is printed, and lies in run_dir/secret/audit unless --show_training_data puts it into the report. Exit code
3 if an attack on all examples, or the canaries, measure more than theory allows. (Single clients' attacks are at 95 %:
of twenty, one may exceed anything by chance.)
"""

import pathlib
import sys

from absl import flags

from flags import program_flags
from pipelines import launch
from tff_vision import wording
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.configs import validate
from tff_vision.program import json_file, run_directory

_RUN_DIR = flags.DEFINE_string('run_dir', None, 'Folder of a finished run.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Where the data of the run lie now, if they were moved.')
_CANARIES = flags.DEFINE_integer('canaries', 200, 'Clients with random directions.')
_DIMENSION = flags.DEFINE_integer('dimension', 10_000, 'Size of a canary; large beside their number.')
_INVERSION_STEPS = flags.DEFINE_integer('inversion_steps', 400, 'Of the search for an image, for models that do not '
                                        'begin with a dense layer.')
_SHADOW_MODELS = flags.DEFINE_integer('shadow_models', 8, 'Trained on halves of all examples, to tell members by their '
                                      'likelihood ratio; 4 or more, or 0: none.')
flags.register_validator('shadow_models', lambda number: number == 0 or number >= 4,
                         'two that learned from an example and two that did not are needed: 4 or more, or 0 for none')
_SHOW_TRAINING_DATA = flags.DEFINE_bool('show_training_data', False, 'Put all findings, and the image, into the report '
                                        'of a run under a promise, which does not cover them.')
_MAX_CLIENTS = flags.DEFINE_integer('max_clients', 20, 'Clients whose own membership attack is shown.')

_BROKEN = 3


def main() -> None:
  if _RUN_DIR.value is None:
    raise ValueError('run_dir is missing: the folder of a finished run.')
  validate.positive(canaries=_CANARIES.value, dimension=_DIMENSION.value, inversion_steps=_INVERSION_STEPS.value)
  validate.non_negative(max_clients=_MAX_CLIENTS.value)
  directory = run_directory.RunDirectory(pathlib.Path(_RUN_DIR.value))
  config = directory.config_at(_DATA_DIR.value)
  if config.task.task != 'classification':
    raise ValueError(f'attacks are on the loss of classes, and {_RUN_DIR.value} was trained for '
                     f'task={config.task.task}.')

  from tff_vision import experiment, secret_files
  from tff_vision.audit import inversion_of_run, known_turn, membership_of_run
  from tff_vision.export import exported
  from tff_vision.program import released
  from tff_vision.runtime.driver import local
  planned = experiment.from_config(config).plan()
  task, plan, report = planned.task, planned.plan, directory.read_report()
  directory.check_data(task.images.fingerprint)
  # The ledger is read from the report, which counts every round that was run twice: the inputs of its computation may
  # have been deleted.
  ledger, evaluator = ledger_lib.of_report(report), exported.ExportedModel(directory).evaluator()
  shown = _SHOW_TRAINING_DATA.value or released.training_data_shown(report)
  if not shown:
    for folder in directory.secrets, directory.audit:
      secret_files.make_folder(folder)
  found = {'theory': {key: value for key, value in ledger.to_json().items() if isinstance(value, (int, float, str))},
           'canaries': known_turn.known_turn(plan, config, ledger, canaries=_CANARIES.value,
                                             dimension=_DIMENSION.value, runtime=local.local_runtime),
           'membership': membership_of_run.by_loss(task, evaluator, ledger, max_clients=_MAX_CLIENTS.value),
           'likelihood_ratio': membership_of_run.by_likelihood_ratio(
               task, config, evaluator, ledger, rounds=report['rounds'], models=_SHADOW_MODELS.value,
               max_clients=_MAX_CLIENTS.value, on_first=_announce),
           'inversion': inversion_of_run.of_run(
               task, ledger, (directory.path if shown else directory.audit) / 'inversion.png',
               steps=_INVERSION_STEPS.value)}
  _show(found, ledger)
  if 'one_run_audit' in report:
    print(report['one_run_audit']['sentence'])
  _into_report(found, report, directory, task, shown)
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), found)
  if broken := [name for name, low, theory in membership_of_run.bounds(found, ledger) if low > theory]:
    print(f'BROKEN: {", ".join(broken)}: measured more than theory allows. (For membership a fault of the mechanism, '
          'or test images of another kind than the training images.)', file=sys.stderr)
    sys.exit(_BROKEN)


def _announce(models, passes, examples, seconds):
  print(f'{models} shadow models, {passes} passes over about {examples} examples each: at most about '
        f'{models * seconds:.0f} s.', file=sys.stderr)


def _into_report(found, told, directory, task, shown):
  """Writes the run's report.html again, with the results of the attacks.

  Results that are computed from training images are in it only if they are shown; otherwise they are in a separate
  report for the owner of the run.
  """
  from tff_vision import secret_files
  from tff_vision.audit import membership_of_run
  from tff_vision.report import page as report
  from tff_vision.report import privacy_profile
  canaries = {'canaries: epsilon': found['canaries']['epsilon'],
              'canaries: epsilon in theory': found['canaries']['epsilon_theory']} if found['canaries'] else {}
  audit = {**{f'membership by {name}: {fact}': everyone[key] for name, everyone, _ in membership_of_run.made(found)
              for fact, key in (('AUC', 'auc'), ('epsilon at least', 'epsilon_low'),
                                (privacy_profile.FOUND, 'true_positive_rate'))},
           **canaries,
           **{f'correlation, {name}': value for name, value in found['inversion'].get('correlation', {}).items()}}
  picture = found['inversion'].get('picture')
  pictures = {'What one update gives away': pathlib.Path(picture).read_bytes()} if picture else {}
  told = {**told, 'training_data_shown': shown}
  if shown:
    report.write_html(directory.report_html, {**told, 'audit': audit}, task.images, pictures=pictures)
    return
  if canaries:
    report.write_html(directory.report_html, {**told, 'audit': canaries}, task.images)
  with secret_files.made_within():
    report.write_html(directory.audit / 'report.html', {**told, 'audit': audit}, task.images, pictures=pictures)
    json_file.write(directory.audit / 'audit.json', found)
  secret_files.close_to_others(directory.audit)


def _show(found, ledger):
  from tff_vision.audit import membership_of_run, promise
  print(f'{"attack":<44}{"measured":>12}{"theory":>12}')
  theory = wording.at_most(promise.to_examples(ledger)[0]) if isinstance(ledger, ledger_lib.Ledger) else 'no promise'
  if found['canaries']:
    canaries = found['canaries']
    print(f'{"canaries, one known round or step: epsilon":<44}{canaries["epsilon"]:>12.3f}'
          f'{wording.at_most(canaries["epsilon_theory"]):>12}')
    print(f'{"  exceeded with 99.95 % confidence":<44}{wording.at_least(canaries["epsilon_low"]):>12}')
  for name, everyone, per_client in membership_of_run.made(found):
    print(f'{f"membership by {name}: epsilon at least":<44}{wording.at_least(everyone["epsilon_low"]):>12}'
          f'{theory:>12}')
    print(f'  AUC {everyone["auc"]:.4f}, {100 * everyone["true_positive_rate"]:.2f} % found at 1 % false alarms')
    for entry in per_client:
      print(f'  {entry["client"]:<42}AUC {entry["auc"]:.3f}, epsilon at least {wording.at_least(entry["epsilon_low"])} '
            f'({entry["members"]} against {entry["others"]})')
  for name, value in found['inversion'].get('correlation', {}).items():
    print(f'{"image: " + name:<44}{value:>12.3f} correlation')
  for name in 'likelihood_ratio', 'inversion':
    if 'skipped' in (found[name] or {}):
      print(f'{name} skipped: {found[name]["skipped"]}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
