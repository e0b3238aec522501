"""Evidence beside theory: what attacks on a finished run measure, and what its ledger says.

    python -m pipelines.audit --run_dir=runs/private
    python -m pipelines.audit --run_dir=runs/private --canaries=400 --json=audit.json

Canaries are planted in the run's own aggregation, built again from its config with fresh noise; membership is inferred
from the exported model; an image is reconstructed from one update, with and without the run's noise. Exit code 3 if
an attack measures more than theory allows.
"""

import dataclasses
import pathlib
import sys

from absl import flags

from flags import output_flags
from pipelines import launch
from tff_vision.program import json_file, run_directory

_RUN_DIR = flags.DEFINE_string('run_dir', None, 'Folder of a finished run.')
_CANARIES = flags.DEFINE_integer('canaries', 200, 'Clients with random directions.')
_DIMENSION = flags.DEFINE_integer('dimension', 10_000, 'Size of a canary; large beside their number.')
_MAX_CLIENTS = flags.DEFINE_integer('max_clients', 20, 'Clients whose own membership attack is shown.')

_ROUNDS = 8  # Of the mechanism, for canaries in a known round.
_BROKEN = 3


def main() -> None:
  if _RUN_DIR.value is None:
    raise ValueError('run_dir is missing: the folder of a finished run.')
  directory = run_directory.RunDirectory(pathlib.Path(_RUN_DIR.value))
  config = directory.read_config()
  if config.task.task != 'classification':
    raise ValueError(f'attacks are on the loss of classes, and {_RUN_DIR.value} was trained for task={config.task.task}.')

  from tff_vision import experiment, tasks
  from tff_vision.program import exported
  task = tasks.build_task(config)
  plan = experiment.build_plan(config, task)
  rounds = json_file.read(directory.report_json)['rounds']
  ledger = plan.ledger(rounds)
  found = {'theory': {key: value for key, value in ledger.items() if isinstance(value, (int, float, str))},
           'canaries': _canaries(plan, config, ledger),
           'membership': _membership(task, exported.ExportedModel(directory).evaluator(), ledger),
           'inversion': _inversion(task, ledger, directory.path / 'inversion.png')}
  _show(found, ledger)
  if output_flags.JSON.value is not None:
    json_file.write(output_flags.JSON.value, found)
  if found['canaries'] and found['canaries']['epsilon_low'] > found['canaries']['epsilon_theory']:
    print('BROKEN: canaries measure more than theory allows.', file=sys.stderr)
    sys.exit(_BROKEN)


def _canaries(plan, config, ledger):
  """Returns what canaries in a known round show, or None where no promise is made to clients."""
  from tff_vision.privacy import gdp
  from tff_vision.privacy.audit import canary
  from tff_vision.runtime import local
  mu = plan.turn_mu()
  if mu is None:
    return None
  with local.local_runtime():
    finding = canary.known_round(plan.aggregator(None), rounds=min(_ROUNDS, config.program.rounds),
                                 canaries=_CANARIES.value, dimension=_DIMENSION.value, delta=ledger['delta'],
                                 seed=config.program.seed)
  return {**dataclasses.asdict(finding), 'mu_theory': mu, 'epsilon_theory': gdp.epsilon(mu, ledger['delta'])}


def _membership(task, evaluator, ledger):
  """Returns loss-threshold attacks on all examples and on each client's; members are training examples."""
  import numpy as np

  from tff_vision.privacy.audit import membership
  delta, test = ledger.get('delta', 1e-5), task.images.test

  def losses(examples):
    return membership.example_losses(evaluator.logits(examples.x), task.loss_fn, examples.y)

  others = losses(test.examples)
  clients = task.images.train
  per_client, members = [], []
  for client in range(len(clients)):
    own = losses(clients.examples(client))
    members.append(own)
    unseen = others[test.clients[client]]
    if len(per_client) < _MAX_CLIENTS.value and min(len(own), len(unseen)) > 1:
      per_client.append({'client': clients.client_ids[client],
                         **dataclasses.asdict(membership.attack(own, unseen, delta=delta))})
  return {'all': dataclasses.asdict(membership.attack(np.concatenate(members), others, delta=delta)),
          'per_client': per_client}


def _inversion(task, ledger, path):
  """Writes the picture; returns correlations with the true image, or why the attack does not apply."""
  import numpy as np

  from tff_vision.data import preprocess
  from tff_vision.privacy.audit import inversion
  model = task.keras_model()
  task.initial_weights().assign_weights_to(model)
  try:
    inversion.first_dense(model)
  except ValueError as error:
    return {'skipped': str(error)}
  example = task.images.train.examples(0)
  x = np.asarray(preprocess.evaluation_fn(task.images.preprocessing, example.x[:1]))
  update = inversion.gradient(model, task.loss_fn, x, example.y[:1])
  noise = ledger.get('noise_multiplier') or 0.0
  noised = inversion.noised(update, clip_norm=ledger.get('clip_norm', 1.0), noise_multiplier=noise, seed=0)
  images = {'the example': x[0], 'from the plain update': inversion.reconstruct(model, update),
            'from the noised update': inversion.reconstruct(model, noised), 'from the masked update': inversion.reconstruct(model, inversion.masked(update))}
  if not noise:
    del images['from the noised update']
  _draw(images, path)
  return {'picture': str(path), 'correlation': {
      name: float(np.corrcoef(image.ravel(), x.ravel())[0, 1]) for name, image in images.items()}}


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
  print(f'{"attack":<44}{"measured":>12}{"theory":>12}')
  theory = f'{ledger["epsilon"]:.3f}' if 'epsilon' in ledger else 'no promise'
  if found['canaries']:
    canaries = found['canaries']
    print(f'{"canaries, one known round: epsilon":<44}{canaries["epsilon"]:>12.3f}{canaries["epsilon_theory"]:>12.3f}')
    print(f'{"  exceeded with 99.95 % confidence":<44}{canaries["epsilon_low"]:>12.3f}')
  everyone = found['membership']['all']
  unit = ledger.get('unit', 'none')
  print(f'{"membership by loss, examples: epsilon at least":<44}{everyone["epsilon_low"]:>12.3f}'
        f'{theory if unit == "example" else "-":>12}')
  print(f'  AUC {everyone["auc"]:.4f}, {100 * everyone["true_positive_rate"]:.2f} % found at 1 % false alarms')
  for entry in found['membership']['per_client']:
    print(f'  {entry["client"]:<42}AUC {entry["auc"]:.3f} ({entry["members"]} against {entry["others"]})')
  for name, value in found['inversion'].get('correlation', {}).items():
    print(f'{"image: " + name:<44}{value:>12.3f} correlation')
  if 'skipped' in found['inversion']:
    print(f'inversion skipped: {found["inversion"]["skipped"]}')


if __name__ == '__main__':
  launch.launch(main, flag_modules=(output_flags,))
