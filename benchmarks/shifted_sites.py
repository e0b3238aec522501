"""Three hospitals with different scanners on real films: how the worst one fares, and who contributes.

    python -m benchmarks.shifted_sites --data_dir=FILE.npz --json=shifted.json     # continues where it was stopped
    python -m benchmarks.shifted_sites --data_dir=FILE.npz --json=shifted.json --show

FILE.npz holds PneumoniaMNIST: `x`, `y`, `x_test`, `y_test`, 28x28 grey (how-to/data.md). It is divided at random among
three hospitals, which see it through `--client_shift=scanners`: as stored, dark and noisy, bright and soft; four tenths
of the training images keep a run at a minute or two. `worst`: accuracy of the worst hospital on its own test images,
the mean of the last three rounds, for FedAvg, q-FedAvg, AFL and local normalisation (own layers).
`contribution`: without shift, one hospital has 40 % wrong labels, another one for each seed; the place of its Shapley
value, 1 for the largest. JSON keys: machine, commit, settings, cells.
"""

import hashlib
import os
import pathlib
import statistics
import time

from absl import flags

from benchmarks import origin
from flags import program_flags
from pipelines import launch
from tff_vision import configs
from tff_vision.program import json_file

_DATA = flags.DEFINE_string('data_dir', None, 'The .npz of PneumoniaMNIST.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds, separated by commas.')
_ROUNDS = flags.DEFINE_integer('rounds', 20, 'Rounds of every run.')
_SHARE = flags.DEFINE_float('share', 0.4, 'Share of the training images that is used.')
_PARTS = flags.DEFINE_list('parts', ['worst', 'contribution'], 'What to measure, separated by commas.')
_SHOW = flags.DEFINE_bool('show', False, 'Print the tables of the JSON file and run nothing.')

_HOSPITALS, _WRONG, _SCORED = 3, 0.4, 3
METHODS = {
    'FedAvg': ('cnn_gn', {}),
    'q-FedAvg, q = 1': ('cnn_gn', {'algorithm': 'qfedavg'}),
    'AFL': ('cnn_gn', {'algorithm': 'afl'}),
    'local GroupNorm': ('cnn_gn', {'algorithm': 'fedbn'}),
    'local BatchNorm (FedBN)': ('cnn_bn', {'algorithm': 'fedbn'}),
}


def main() -> None:
  if program_flags.json_file() is None or _DATA.value is None or not os.path.isfile(_DATA.value):
    raise ValueError('json and data_dir are needed: the file of the results, and the .npz of the images.')
  path = pathlib.Path(program_flags.json_file())
  settings = {'rounds': _ROUNDS.value, 'share': _SHARE.value,
              'data': hashlib.sha256(pathlib.Path(_DATA.value).read_bytes()).hexdigest()}
  content = json_file.read(path) if path.exists() else {
      'machine': origin.machine(),
      'commit': origin.commit(),
      'settings': settings, 'cells': []}
  if content['settings'] != settings:
    raise ValueError(f'json={path} holds results of other rounds, another share or other images; name another file.')
  if not _SHOW.value:
    import tff_vision as tv  # Imported late: it loads TensorFlow.
    with tv.open_runtime(tv.RuntimeConfig()) as place:
      _fill(content, path, place)
  _show(content)


def _fill(content, path, place):
  cells = [{'part': 'contribution', 'method': metric, 'seed': int(seed)} for seed in _SEEDS.value
           for metric in ('accuracy', 'loss')]
  cells += [{'part': 'worst', 'method': method, 'seed': int(seed)} for seed in _SEEDS.value for method in METHODS]
  for cell in cells:
    if cell['part'] in _PARTS.value and not any(cell.items() <= done.items() for done in content['cells']):
      started = time.monotonic()
      found = (_worst if cell['part'] == 'worst' else _contribution)(place, cell['method'], cell['seed'])
      content['cells'].append({**cell, **found, 'seconds': time.monotonic() - started})
      json_file.write(path, content)
      print(content['cells'][-1], flush=True)


def _experiment(seed, *, shift, model, algorithm, **sections):
  import numpy as np

  from tff_vision import experiment
  from tff_vision.data import images as images_lib
  config = configs.ExperimentConfig(
      data=configs.DataConfig(dataset='npz', data_dir=_DATA.value, partition='iid', num_clients=_HOSPITALS,
                              client_shift=shift),
      model=configs.ModelConfig(model=model), algorithm=configs.AlgorithmConfig(**algorithm),
      client=configs.ClientConfig(client_epochs=1, batch_size=32, client_learning_rate=0.05),
      cohort=configs.CohortConfig(cohort_size=_HOSPITALS),
      program=configs.ProgramConfig(rounds=_ROUNDS.value, seed=seed), **sections)
  made = experiment.from_config(config)

  class Fewer(images_lib.ClientImages):
    """The first images of each hospital."""
    client_ids = made.images.train.client_ids

    def num_examples(self, client):
      return int(_SHARE.value * made.images.train.num_examples(client))

    def examples(self, client):
      return made.images.train.examples(client).take(np.arange(self.num_examples(client)))

  return made, Fewer()


def _with_clients(made, clients):
  """Returns the experiment over other clients of the same images."""
  import dataclasses
  images = dataclasses.replace(made.images, train=clients)
  again = dataclasses.replace(made)
  vars(again)['images'] = images
  return again


def _worst(place, method, seed):
  model, algorithm = METHODS[method]
  made, fewer = _experiment(seed, shift='scanners', model=model, algorithm=algorithm)
  trainer = _with_clients(made, fewer).prepare(place)
  state, seen = trainer.begin(), []
  for round_num in range(1, _ROUNDS.value + 1):
    state = trainer.next(state, round_num).state
    if round_num > _ROUNDS.value - _SCORED:
      own = trainer.parts.own_models
      seen.append(trainer.evaluate(state)['per_client']['accuracies'] if own is None
                  else own.evaluate(trainer.evaluator, state, round_num)[1]['own']['accuracies'])
  hospitals = [statistics.mean(values) for values in zip(*seen, strict=True)]
  return {'hospitals': hospitals, 'worst': min(hospitals), 'mean': statistics.mean(hospitals)}


def _contribution(place, metric, seed):
  import numpy as np

  from tff_vision import seeds
  from tff_vision.data import images as images_lib
  from tff_vision.learning import contribution
  made, fewer = _experiment(seed, shift='none', model='cnn_gn', algorithm={}, aggregation=configs.AggregationConfig(
      contribution='shapley', contribution_metric=metric))
  wrong = seed % _HOSPITALS

  class Wrong(images_lib.ClientImages):
    """The same images; of one hospital, 40 % of the labels are wrong."""
    client_ids = fewer.client_ids

    def num_examples(self, client):
      return fewer.num_examples(client)

    def examples(self, client):
      found = fewer.examples(client)
      if client != wrong:
        return found
      rng = np.random.default_rng(seeds.derive(seed, 'wrong labels'))
      chosen = rng.permutation(len(found))[:round(_WRONG * len(found))]
      y = found.y.copy()
      y[chosen] = 1 - y[chosen]
      return images_lib.Examples(found.x, y)

  trainer = _with_clients(made, Wrong()).prepare(place)
  state, history = trainer.begin(), []
  for round_num in range(1, _ROUNDS.value + 1):
    before, output = trainer.weights(state), trainer.next(state, round_num, range(_HOSPITALS))
    state = output.state
    history.append({'contribution': trainer.contribution.of_round(
        round_num, before, output.metrics, trainer.weights(state), range(_HOSPITALS))})
  values = contribution.totals(history, _HOSPITALS)
  return {'values': values, 'wrong': wrong, 'place': 1 + sum(value > values[wrong] for value in values)}


def _show(content):
  for method in METHODS:
    rows = {row['seed']: row for row in content['cells'] if row['part'] == 'worst' and row['method'] == method}
    if rows:
      print(f'{method:26} worst {_spread([row["worst"] for row in rows.values()])}   mean '
            f'{_spread([row["mean"] for row in rows.values()])}   hospitals '
            f'{[_spread(values) for values in zip(*(row["hospitals"] for row in rows.values()), strict=True)]}')
  for metric in ('accuracy', 'loss'):
    rows = [row for row in content['cells'] if row['part'] == 'contribution' and row['method'] == metric]
    if rows:
      print(f'contribution to {metric}: place of the hospital with wrong labels, of {_HOSPITALS}: '
            f'{[row["place"] for row in rows]}; values '
            f'{[[round(value, 4) for value in row["values"]] for row in rows]}, wrong {[row["wrong"] for row in rows]}')


def _spread(values):
  return f'{100 * statistics.mean(values):.1f} ± {100 * origin.deviation(values):.1f}'


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
