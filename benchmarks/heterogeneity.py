"""Accuracy of algorithms over clients that differ: one table on Fashion-MNIST, mean and deviation over seeds.

    python -m benchmarks.heterogeneity --json=heterogeneity.json        # continues where it was stopped
    python -m benchmarks.heterogeneity --json=heterogeneity.json --show
    python -m benchmarks.heterogeneity --json=all.json --participants=20 --methods=FedAvg,FedNova \\
        --splits='Dirichlet 0.1'
    python -m benchmarks.heterogeneity --json=iid.json --grid_split=IID --methods=FedAvg,SCAFFOLD --splits=IID

For every algorithm, 20 clients share 10,000 training images; 10 of them train in each of 30 rounds, 5 epochs in batches
of 50. Learning rates are the best of a grid (`GRIDS`) on a separate seed, on the Dirichlet 0.1 split. The score is the
mean accuracy on the 10,000 test images over the last five rounds. JSON keys: machine, commit, grid and cells; the last
two hold objects with the settings, accuracy and seconds.
"""

import itertools
import pathlib
import statistics
import time

from absl import flags

from benchmarks import origin
from flags import program_flags
from pipelines import launch
from tff_vision import configs
from tff_vision.program import json_file

_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds, separated by commas.')
_ROUNDS = flags.DEFINE_integer('rounds', 30, 'Rounds of every run.')
_PARTICIPANTS = flags.DEFINE_integer('participants', 10, 'Clients in every round, of 20.')
_METHODS = flags.DEFINE_list('methods', [], 'Methods, separated by commas; none: all.')
_SPLITS = flags.DEFINE_list('splits', [], 'Splits, separated by commas; none: all.')
_GRID_SPLIT = flags.DEFINE_string('grid_split', 'Dirichlet 0.1', 'The split on which learning rates are chosen.')
_SHOW = flags.DEFINE_bool('show', False, 'Print the table of the JSON file and run nothing.')

_CLIENTS, _IMAGES, _SCORED, _GRID_SEED = 20, 10_000, 5, 100
SPLITS = {
    'IID': configs.DataConfig(dataset='fashion_mnist', partition='iid', num_clients=_CLIENTS),
    'Dirichlet 0.5': configs.DataConfig(dataset='fashion_mnist', partition='dirichlet', partition_alpha=0.5,
                                        num_clients=_CLIENTS, min_client_examples=20),
    'Dirichlet 0.1': configs.DataConfig(dataset='fashion_mnist', partition='dirichlet', partition_alpha=0.1,
                                        num_clients=_CLIENTS, min_client_examples=20),
    '2 shards': configs.DataConfig(dataset='fashion_mnist', partition='shards', classes_per_client=2,
                                   num_clients=_CLIENTS),
}
_RATES = {'client_learning_rate': (0.03, 0.1, 0.3)}
# Method -> (algorithm, server optimizer, the settings to choose from).
GRIDS = {
    'FedAvg': ('fedavg', 'sgd', _RATES),
    'FedProx': ('fedprox', 'sgd', {**_RATES, 'proximal_strength': (0.01, 0.1)}),
    'SCAFFOLD': ('scaffold', 'sgd', _RATES),
    'FedNova': ('fednova', 'sgd', _RATES),
    'FedDyn': ('feddyn', 'sgd', {**_RATES, 'feddyn_strength': (0.03, 0.1)}),
    'FedAdam': ('fedavg', 'adam', {**_RATES, 'server_learning_rate': (0.003, 0.01)}),
}


def main() -> None:
  if program_flags.json_file() is None:
    raise ValueError('json is missing: the file that holds the cells, also of a run that was stopped.')
  path = pathlib.Path(program_flags.json_file())
  content = json_file.read(path) if path.exists() else {
      'machine': origin.machine(),
      'commit': origin.commit(),
      'rounds': _ROUNDS.value, 'participants': _PARTICIPANTS.value, 'grid': [], 'cells': []}
  if not _SHOW.value:
    import tff_vision as tv  # Imported late: it loads TensorFlow.
    with tv.open_runtime(tv.RuntimeConfig(threads=1, max_concurrent_clients=1)) as place:
      _fill(content, path, _Runner(place))
  print(table(content))


def _fill(content, path, runner):
  methods, splits = _METHODS.value or list(GRIDS), _SPLITS.value or list(SPLITS)
  for method in methods:
    for settings in _settings(method):
      _once(content, 'grid', path, runner, method, _GRID_SPLIT.value, _GRID_SEED, settings)
  for seed, split, method in itertools.product(map(int, _SEEDS.value), splits, methods):
    _once(content, 'cells', path, runner, method, split, seed, best(content, method))


def _once(content, part, path, runner, method, split, seed, settings):
  """Runs one cell unless its result is in the file."""
  cell = {'method': method, 'split': split, 'seed': seed, 'settings': settings}
  if any(cell.items() <= done.items() for done in content[part]):
    return
  started = time.monotonic()
  accuracies = runner.run(method, split, seed, settings)
  content[part].append({**cell, 'accuracy': statistics.mean(accuracies), 'accuracies': accuracies,
                        'seconds': round(time.monotonic() - started, 1)})
  json_file.write(path, content)
  print(f'{part} {method}, {split}, seed {seed}, {settings}: {content[part][-1]["accuracy"]:.4f} in '
        f'{content[part][-1]["seconds"]} s', flush=True)


def best(content, method):
  """Returns the settings of a method with the best accuracy on the grid's seed."""
  return max((done for done in content['grid'] if done['method'] == method),
             key=lambda done: done['accuracy'])['settings']


def table(content) -> str:
  """Returns the cells as a table in Markdown: percent, mean +- standard deviation (n - 1) over seeds."""
  lines = ['| | ' + ' | '.join(SPLITS) + ' | chosen |', '|---' * (len(SPLITS) + 2) + '|']
  for method in GRIDS:
    row = [method]
    for split in SPLITS:
      found = [100 * done['accuracy'] for done in content['cells']
               if (done['method'], done['split']) == (method, split)]
      row.append(f'{statistics.mean(found):.1f} ± {origin.deviation(found):.1f}' if len(found) > 1 else '')
    chosen = best(content, method) if any(done['method'] == method for done in content['grid']) else {}
    row.append(', '.join(f'{name} {value:g}' for name, value in chosen.items()))
    lines.append('| ' + ' | '.join(row) + ' |')
  return '\n'.join(lines)


def _settings(method):
  choices = GRIDS[method][2]
  return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


class _Runner:
  """Runs cells; one process is built for each method and its settings, and is used for all splits and seeds."""

  def __init__(self, place):
    from tff_vision.data.sources import registry
    config = SPLITS['IID']
    self._place = place
    self._pool = registry.find(config.dataset).load(config)
    self._built = {}

  def run(self, method, split, seed, settings) -> list[float]:
    """Returns the test accuracies after the last rounds."""
    key = (method, *settings.items())
    trainer = self._experiment(method, split, seed, settings).prepare(self._place, like=self._built.get(key))
    self._built.setdefault(key, trainer)
    state, accuracies = trainer.begin(), []
    for round_num in range(1, _ROUNDS.value + 1):
      state = trainer.next(state, round_num).state
      if round_num > _ROUNDS.value - _SCORED:
        accuracies.append(trainer.evaluate(state)['evaluation']['accuracy'])
    return accuracies

  def _experiment(self, method, split, seed, settings):
    import tff_vision as tv
    algorithm, server, _ = GRIDS[method]
    own = {name: value for name, value in settings.items() if name in ('proximal_strength', 'feddyn_strength')}
    return tv.Experiment(
        tv.Task(self._images(SPLITS[split], seed), model=_network), rounds=_ROUNDS.value, seed=seed,
        algorithm=configs.AlgorithmConfig(algorithm=algorithm, **own), participation=tv.Fixed(_PARTICIPANTS.value),
        client=tv.Client(tv.sgd(settings['client_learning_rate']), epochs=5, batch_size=50),
        server=configs.ServerConfig(server_optimizer=server,
                                    server_learning_rate=settings.get('server_learning_rate', 1.0)))

  def _images(self, config, seed):
    import numpy as np

    from tff_vision import seeds
    from tff_vision.data import images, partition
    chosen = np.random.default_rng(seeds.derive(seed, 'heterogeneity')).permutation(len(self._pool.train))[:_IMAGES]
    train, test = self._pool.train.take(np.sort(chosen)), self._pool.test.take(np.arange(len(self._pool.test)))
    split = partition.PARTITIONS[config.partition](
        partition.Labels(train=train.y, test=test.y), num_clients=_CLIENTS, config=config, seed=seed)
    return images.FederatedImages(
        name=config.dataset, spec=self._pool.spec, preprocessing=self._pool.preprocessing,
        train=images.ArrayClients(train, split.train, [f'client {i}' for i in range(_CLIENTS)]),
        test=images.HeldOut(examples=test, clients=split.test))


def _network(input_shape, num_classes):
  """One hidden layer of 50 units: 39,760 parameters on 28x28 images in ten classes."""
  import tensorflow as tf
  layers = tf.keras.layers
  return tf.keras.Sequential([layers.Input(input_shape), layers.Flatten(), layers.Dense(50, activation='relu'),
                              layers.Dense(num_classes)], name='hidden50')


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
