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

import dataclasses
import pathlib
import sys
import time

from absl import flags

from flags import program_flags
from pipelines import launch
from tff_vision.accounting import conditions
from tff_vision.accounting import ledger as ledger_lib
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

_ROUNDS = 8  # Of the mechanism, for canaries in a known round.
_MANY = 2000  # Canaries, beside whom there are no more rounds.
_BROKEN = 3


def main() -> None:
  if _RUN_DIR.value is None:
    raise ValueError('run_dir is missing: the folder of a finished run.')
  directory = run_directory.RunDirectory(pathlib.Path(_RUN_DIR.value))
  config = directory.config_at(_DATA_DIR.value)
  if config.task.task != 'classification':
    raise ValueError(f'attacks are on the loss of classes, and {_RUN_DIR.value} was trained for '
                     f'task={config.task.task}.')

  from tff_vision import experiment, secret_files, tasks
  from tff_vision.export import exported
  from tff_vision.program import released
  task = tasks.build_task(config)
  directory.check_data(task.images.fingerprint)
  plan, report = experiment.build_plan(config, task), directory.read_report()
  # As the run's end computed it, with every round that was run twice: what it was computed from may be gone.
  ledger, evaluator = ledger_lib.of_report(report), exported.ExportedModel(directory).evaluator()
  shown = _SHOW_TRAINING_DATA.value or released.training_data_shown(report)
  if not shown:
    for folder in directory.secrets, directory.audit:
      secret_files.make_folder(folder)
  found = {'theory': {key: value for key, value in ledger.to_json().items() if isinstance(value, (int, float, str))},
           'canaries': _canaries(plan, config, ledger),
           'membership': _membership(task, evaluator, ledger),
           'likelihood_ratio': _likelihood_ratio(task, config, evaluator, ledger, report['rounds']),
           'inversion': _inversion(task, ledger, (directory.path if shown else directory.audit) / 'inversion.png')}
  _show(found, ledger)
  _into_report(found, report, directory, task, shown)
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), found)
  if broken := [name for name, low, theory in _bounds(found, ledger) if low > theory]:
    print(f'BROKEN: {", ".join(broken)}: measured more than theory allows. (For membership a fault of the mechanism, '
          'or test images of another kind than the training images.)', file=sys.stderr)
    sys.exit(_BROKEN)


def _bounds(found, ledger):
  """Returns (the attack's name, epsilon that it exceeds, epsilon in theory at its delta) where there is a theory."""
  from tff_vision.audit import promise
  canaries = found['canaries']
  known = [('canaries', canaries['epsilon_low'], canaries['epsilon_theory'])] if canaries else []
  if isinstance(ledger, ledger_lib.Ledger):
    known += [(f'membership by {name}', everyone['epsilon_low'], promise.to_examples(ledger)[0])
              for name, everyone, _ in _by_attack(found)]
  return known


def _canaries(plan, config, ledger):
  """Returns what canaries in a known round (of private SGD: in a known step) show, or None without a promise."""
  from tff_vision.audit import canary, opened_sum
  from tff_vision.runtime.driver import local
  mu = plan.turn_mu()
  if mu is None:
    return None
  if ledger.unit is conditions.Unit.EXAMPLE:
    finding = canary.known_step(plan.training, steps=_ROUNDS, canaries=_CANARIES.value, dimension=_DIMENSION.value,
                                delta=ledger.delta, seed=config.program.seed)
    return _beside_theory(finding, mu, ledger)
  rounds, canaries, summing = min(_ROUNDS, config.program.rounds), _CANARIES.value, None
  if ledger.shares is None and ledger.against_server:
    rounds = canaries  # Every update lies open by itself.
  elif ledger.shares is not None:
    # Of what the secure sum opens. As many canaries a round as the noise is sized for: each brings a share.
    plan = dataclasses.replace(plan, length=_DIMENSION.value)
    rounds = max(1, min(rounds, _MANY // plan.survivors))
    summing, canaries = opened_sum.OpenedSumFactory(plan.sum_encoding()), rounds * plan.survivors
  with local.local_runtime():
    finding = canary.known_round(plan.aggregator(summing), rounds=rounds, canaries=canaries, dimension=_DIMENSION.value,
                                 delta=ledger.delta, seed=config.program.seed)
  return _beside_theory(finding, mu, ledger)


def _beside_theory(finding, mu, ledger):
  from tff_vision.accounting import gdp
  return {**dataclasses.asdict(finding), 'mu_theory': mu, 'epsilon_theory': gdp.epsilon(mu, ledger.delta)}


def _membership(task, evaluator, ledger):
  """Returns loss-threshold attacks on all examples and on each client's; members are training examples."""
  from tff_vision.audit import membership
  clients = task.images.train

  def losses(examples):
    return membership.example_losses(evaluator.logits(examples.x), task.loss_fn, examples.y)

  return _attacks(task.images, [losses(clients.examples(client)) for client in range(len(clients))],
                  losses(task.images.test.examples), ledger)


def _likelihood_ratio(task, config, evaluator, ledger, rounds):
  """Returns likelihood-ratio attacks on the same examples, why there are none, or None if they were not asked for."""
  import numpy as np

  from tff_vision import seeds
  from tff_vision.audit import likelihood_ratio, shadow_models
  from tff_vision.data import images
  if not _SHADOW_MODELS.value:
    return None
  clients, begun = task.images.train, time.monotonic()
  parts = [*(clients.examples(client) for client in range(len(clients))), task.images.test.examples]
  pool = images.Examples(*(np.concatenate([getattr(part, name) for part in parts]) for name in 'xy'))
  inside = likelihood_ratio.halves(_SHADOW_MODELS.value, len(pool), seed=seeds.derive(config.program.seed, 'halves'))
  passes, shadow = shadow_models.passes(config, rounds=rounds, population=len(clients)), []
  for logits in shadow_models.logits(task, pool, inside, passes=passes):
    shadow.append(likelihood_ratio.confidences(logits, pool.y))
    if len(shadow) == 1:
      print(f'{len(inside)} shadow models, {passes} passes over about {len(pool) // 2} examples each: at most about '
            f'{len(inside) * (time.monotonic() - begun):.0f} s.', file=sys.stderr)
  effort = {'shadow_models': len(inside), 'passes': passes, 'seconds': time.monotonic() - begun}
  if not np.isfinite(shadow).all():
    return {**effort, 'skipped': 'a shadow model diverged: pooled training does not bear this learning rate.'}
  observed = likelihood_ratio.confidences(evaluator.logits(pool.x), pool.y)
  ratios = likelihood_ratio.log_ratios(observed, np.array(shadow), inside)
  *members, others = np.split(-ratios, np.cumsum([len(part) for part in parts])[:-1])
  return {**_attacks(task.images, members, others, ledger), **effort}


def _attacks(images, members, others, ledger):
  """Returns attacks by threshold on all examples and on each client's.

  Args:
    members: Scores of each client's training examples; low ones speak for a member.
    others: Scores of the test examples.
  """
  import numpy as np

  from tff_vision.audit import membership, promise
  delta, per_client = promise.to_examples(ledger)[1], []
  for client, own in enumerate(members):
    unseen = others[images.test.clients[client]]
    if len(per_client) < _MAX_CLIENTS.value and min(len(own), len(unseen)) > 1:
      per_client.append({'client': images.train.client_ids[client],
                         **dataclasses.asdict(membership.attack(own, unseen, delta=delta))})
  return {'all': dataclasses.asdict(membership.attack(np.concatenate(members), others, delta=delta)),
          'per_client': per_client}


def _inversion(task, ledger, path):
  """Writes the picture; returns correlations with the true image, or why the attack does not apply."""
  import numpy as np

  from tff_vision.audit import inversion
  from tff_vision.data import preprocess
  model = task.keras_model()
  task.initial_weights().assign_weights_to(model)
  if task.images.multi_label:
    return {'skipped': 'the attack infers one label from one update; these images have several findings each.'}
  example = task.images.train.examples(0)
  x = np.asarray(preprocess.evaluation_fn(task.images.preprocessing, example.x[:1]))
  update = inversion.gradient(model, task.loss_fn, x, example.y[:1])
  noise, clip_norm = ((ledger.noise_multiplier, ledger.clip_norm) if isinstance(ledger, ledger_lib.Ledger)
                      else (0.0, 1.0))
  noised = inversion.noised(update, clip_norm=clip_norm, noise_multiplier=noise, seed=0)
  updates = {'plain': update, 'noised': noised, 'masked': inversion.masked(update)}
  if not noise:
    del updates['noised']
  method, attack = _attack(model, task.loss_fn)
  images = {'the example': x[0], **{f'from the {name} update': attack(seen) for name, seen in updates.items()}}
  _draw(images, path)
  # An image of one value correlates with nothing; numpy calls that no number.
  return {'picture': str(path), 'method': method, 'correlation': {
      name: float(np.nan_to_num(np.corrcoef(image.ravel(), x.ravel())[0, 1])) for name, image in images.items()}}


def _attack(model, loss_fn):
  """Returns the name of the attack on this model, and update -> image."""
  from tff_vision.audit import gradient_matching, inversion
  try:
    inversion.first_dense(model)
  except ValueError:
    return 'gradient matching', lambda seen: gradient_matching.reconstruct(
        model, loss_fn, seen, steps=_INVERSION_STEPS.value, seed=0)[0]
  return 'closed form', lambda seen: inversion.reconstruct(model, seen)


def _into_report(found, told, directory, task, shown):
  """Writes the run's report.html again, with what the attacks found.

  What comes from training images stands there only if it is shown; if not, in a report for the run's owner.
  """
  from tff_vision import secret_files
  from tff_vision.report import page as report
  from tff_vision.report import privacy_profile
  canaries = {'canaries: epsilon': found['canaries']['epsilon'],
              'canaries: epsilon in theory': found['canaries']['epsilon_theory']} if found['canaries'] else {}
  audit = {**{f'membership by {name}: {fact}': everyone[key] for name, everyone, _ in _by_attack(found)
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


def _by_attack(found):
  """Returns (its name, its numbers over all examples, those of each client) of each membership attack made."""
  return [(name, found[key]['all'], found[key]['per_client'])
          for name, key in (('loss', 'membership'), ('LiRA', 'likelihood_ratio')) if 'all' in (found[key] or {})]


def _draw(images, path):
  import matplotlib
  matplotlib.use('Agg')
  from matplotlib import pyplot
  figure, axes = pyplot.subplots(1, len(images), figsize=(2.6 * len(images), 2.9), layout='constrained')
  for axis, (name, image) in zip(axes, images.items(), strict=True):
    low, high = image.min(), image.max()
    axis.imshow((image - low) / max(high - low, 1e-12), cmap='gray')
    axis.set_title(name, fontsize=9)
    axis.set_axis_off()
  figure.savefig(path, dpi=110)
  pyplot.close(figure)


def _show(found, ledger):
  from tff_vision.audit import promise
  print(f'{"attack":<44}{"measured":>12}{"theory":>12}')
  theory = f'{promise.to_examples(ledger)[0]:.3f}' if isinstance(ledger, ledger_lib.Ledger) else 'no promise'
  if found['canaries']:
    canaries = found['canaries']
    print(f'{"canaries, one known round or step: epsilon":<44}{canaries["epsilon"]:>12.3f}'
          f'{canaries["epsilon_theory"]:>12.3f}')
    print(f'{"  exceeded with 99.95 % confidence":<44}{canaries["epsilon_low"]:>12.3f}')
  for name, everyone, per_client in _by_attack(found):
    print(f'{f"membership by {name}: epsilon at least":<44}{everyone["epsilon_low"]:>12.3f}'
          f'{theory:>12}')
    print(f'  AUC {everyone["auc"]:.4f}, {100 * everyone["true_positive_rate"]:.2f} % found at 1 % false alarms')
    for entry in per_client:
      print(f'  {entry["client"]:<42}AUC {entry["auc"]:.3f}, epsilon at least {entry["epsilon_low"]:.3f} '
            f'({entry["members"]} against {entry["others"]})')
  for name, value in found['inversion'].get('correlation', {}).items():
    print(f'{"image: " + name:<44}{value:>12.3f} correlation')
  for name in 'likelihood_ratio', 'inversion':
    if 'skipped' in (found[name] or {}):
      print(f'{name} skipped: {found[name]["skipped"]}')


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
