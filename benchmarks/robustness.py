"""Measures robust aggregation and compression: accuracy, backdoor success and bytes.

    TF_NUM_INTRAOP_THREADS=1 python -m benchmarks.robustness --json=FILE [--seeds=0,1,2] [--rounds=10]

Digits (8 x 8, embedded), `mlp`, 10 clients with about 144 images, IID, all in every round, 2 of them attackers; 1 core.
JSON keys: machine, commit, settings, bounds, attacks (aggregator -> attack -> accuracy, backdoor_success_rate),
compression (name -> bytes_up, accuracy), seconds; each number as mean, sd (n - 1) and values.
"""

import dataclasses
import statistics
import time

from absl import flags

from benchmarks import origin
from flags import program_flags
from pipelines import launch
from tff_vision import configs
from tff_vision.program import json_file

_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds, separated by commas.')
_ROUNDS = flags.DEFINE_integer('rounds', 10, 'Rounds of every run.')
_ATTACKS = flags.DEFINE_list('attacks', ['none', 'label_flip', 'sign_flip', 'scaled_update', 'backdoor_patch'],
                             'Attacks, separated by commas.')

_BASE = configs.ExperimentConfig(
    data=configs.DataConfig(dataset='digits', num_clients=10, partition='iid'),
    client=configs.ClientConfig(client_epochs=1, batch_size=20, client_learning_rate=0.2),
    cohort=configs.CohortConfig(cohort_size=10))
_SETTINGS = {'none': {}, 'label_flip': {}, 'sign_flip': {'attack_scale': 4.0}, 'scaled_update': {},
             'backdoor_patch': {'attack_patch': 2}}
_ON_UPDATES = ('sign_flip', 'scaled_update')  # These attacks change a client's update; the others change its images.
_COMPRESSIONS = {
    'none': {}, 'uniform 8 bits': {'compression': 'uniform'},
    'hadamard 4 bits': {'compression': 'hadamard', 'compression_bits': 4},
    **{f'{name} 1 bit': {'compression': name, 'compression_bits': 1}
       for name in ('uniform', 'stochastic', 'hadamard', 'dft')},
    'top_k 10 %': {'compression': 'top_k'}, 'top_k 1 %': {'compression': 'top_k', 'top_k_fraction': 0.01}}


def main() -> None:
  import tff_vision as tv  # Imported late: TensorFlow takes seconds to load, which would slow down --help.
  started = time.monotonic()
  with tv.open_runtime(tv.RuntimeConfig(max_concurrent_clients=1)) as place:
    bounds = _bounds(place)
    content = {
        'machine': origin.machine(),
        'commit': origin.commit(),
        'settings': {'seeds': _SEEDS.value, 'rounds': _ROUNDS.value, 'base': dataclasses.asdict(_BASE),
                     'attacks': _SETTINGS},
        'bounds': bounds, 'attacks': {}, 'compression': {}}
    for name, settings in _aggregators(bounds).items():
      content['attacks'][name] = _attacked(place, configs.AggregationConfig(aggregator=name, **settings), name)
      _save(content, started)
    for name, settings in _COMPRESSIONS.items():
      content['compression'][name] = _compressed(place, configs.AggregationConfig(**settings), name)
      _save(content, started)


def _save(content, started):
  content['seconds'] = time.monotonic() - started
  if program_flags.json_file() is not None:
    json_file.write(program_flags.json_file(), content)


def _aggregators(bounds):
  return {'mean': {}, 'norm_clipping': {'update_norm_bound': bounds['norm_clipping']},
          'zeroing': {'update_norm_bound': bounds['zeroing']},
          'median': {}, 'trimmed_mean': {}, 'krum': {}, 'multi_krum': {}, 'geometric_median': {}}


def _bounds(place):
  """Returns the median norm of an honest first update, and three times this norm."""
  import numpy as np
  trainer, norms = _Trainers(place, configs.AggregationConfig()).trainer(_BASE, seed=0), []
  start = trainer.begin()
  for client in range(trainer.population):
    after = trainer.next(start, 1, [client]).state
    norms.append(float(np.linalg.norm(_flat(trainer, after) - _flat(trainer, start))))
  return {'norm_clipping': round(statistics.median(norms), 2), 'zeroing': round(3 * statistics.median(norms), 2)}


def _attacked(place, aggregation, name):
  trainers, found = _Trainers(place, aggregation), {}
  for attack in _ATTACKS.value:
    config = dataclasses.replace(_BASE, attack=configs.AttackConfig(attack=attack, **_SETTINGS[attack]))
    results = [_trained(trainers.trainer(config, int(seed)), config) for seed in _SEEDS.value]
    found[attack] = {key: origin.spread([result[key] for result in results]) for key in results[0]}
    print(name, attack, {key: f'{value["mean"]:.3f} ± {value["sd"]:.3f}' for key, value in found[attack].items()},
          flush=True)
  return found


def _compressed(place, aggregation, name):
  trainers = _Trainers(place, aggregation)
  made = [trainers.trainer(_BASE, int(seed)) for seed in _SEEDS.value]
  found = {'bytes_up': made[0].traffic.bytes_up,
           'accuracy': origin.spread([_trained(trainer, _BASE)['accuracy'] for trainer in made])}
  print(name, found, flush=True)
  return found


class _Trainers:
  """The trainers of one aggregation: one process for attacks on updates, one for other attacks, used for all seeds."""

  def __init__(self, place, aggregation):
    self._place, self._aggregation, self._built = place, aggregation, {}

  def trainer(self, config, seed):
    """Returns the trainer of an experiment with this seed."""
    from tff_vision import experiment
    made = experiment.from_config(dataclasses.replace(
        config, aggregation=self._aggregation, program=configs.ProgramConfig(rounds=_ROUNDS.value, seed=seed)))
    on_updates = config.attack.attack in _ON_UPDATES
    trainer = made.prepare(self._place, like=self._built.get(on_updates))
    return self._built.setdefault(on_updates, trainer) and trainer


def _trained(trainer, config):
  """Returns the final result of an experiment."""
  from tff_vision.report import attack_report
  state = trainer.begin()
  for round_num in range(1, _ROUNDS.value + 1):
    state = trainer.next(state, round_num).state
  found = {'accuracy': trainer.evaluate(state)['evaluation']['accuracy']}
  if config.attack.attack == 'backdoor_patch':
    found['backdoor_success_rate'] = attack_report.backdoor_success_rate(config.attack, trainer.task, trainer.evaluator)
  return found


def _flat(trainer, state):
  import numpy as np
  return np.concatenate([np.ravel(weight) for weight in trainer.weights(state).trainable])


if __name__ == '__main__':
  launch.launch(main, flag_groups=(program_flags.OUTPUT,))
