"""What robust aggregation withstands and what compression saves: accuracy, backdoor success and bytes.

    TF_NUM_INTRAOP_THREADS=1 python -m benchmarks.robustness --json=FILE [--seeds=0,1,2] [--rounds=10]

Digits (8 x 8, embedded), `mlp`, 10 clients of about 144 images, IID, all in every round, 2 of them attackers; one core.
JSON keys: machine, commit, settings, bounds, attacks (aggregator -> attack -> accuracy, backdoor_success_rate),
compression (name -> bytes_up, accuracy), seconds; each number as mean, sd (n - 1) and values.
"""

import dataclasses
import functools
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

from absl import flags

from flags import output_flags
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
_COMPRESSIONS = {
    'none': {}, 'uniform 8 bits': {'compression': 'uniform'},
    'hadamard 4 bits': {'compression': 'hadamard', 'compression_bits': 4},
    **{f'{name} 1 bit': {'compression': name, 'compression_bits': 1}
       for name in ('uniform', 'stochastic', 'hadamard', 'dft')},
    'top_k 10 %': {'compression': 'top_k'}, 'top_k 1 %': {'compression': 'top_k', 'top_k_fraction': 0.01}}


def main() -> None:
  from tff_vision.runtime.driver import local  # Late: TensorFlow costs seconds that --help must not pay.
  started = time.monotonic()
  with local.local_runtime(max_concurrent_clients=1):
    bounds = _bounds()
    content = {
        'machine': {'cores': os.cpu_count(), 'platform': platform.platform()},
        'commit': subprocess.run(['git', 'rev-parse', 'HEAD'], capture_output=True, text=True).stdout.strip(),
        'settings': {'seeds': _SEEDS.value, 'rounds': _ROUNDS.value, 'base': dataclasses.asdict(_BASE),
                     'attacks': _SETTINGS},
        'bounds': bounds, 'attacks': {}, 'compression': {}}
    for name, settings in _aggregators(bounds).items():
      content['attacks'][name] = _attacked(configs.AggregationConfig(aggregator=name, **settings), name)
      _save(content, started)
    for name, settings in _COMPRESSIONS.items():
      content['compression'][name] = _compressed(configs.AggregationConfig(**settings), name)
      _save(content, started)


def _save(content, started):
  content['seconds'] = time.monotonic() - started
  if output_flags.JSON.value is not None:
    json_file.write(output_flags.JSON.value, content)


def _aggregators(bounds):
  return {'mean': {}, 'norm_clipping': {'update_norm_bound': bounds['norm_clipping']},
          'zeroing': {'update_norm_bound': bounds['zeroing']},
          'median': {}, 'trimmed_mean': {}, 'krum': {}, 'multi_krum': {}, 'geometric_median': {}}


def _bounds():
  """Returns the median norm of an honest first update, and three times that."""
  import numpy as np
  run = _Run(configs.AggregationConfig())
  task = _task(_BASE, seed=0)
  start, norms = run.flat(run.start(task)), []
  for client in range(len(task.images.train)):
    after = run.round(run.start(task), run.data(_BASE, task), [client], 1)
    norms.append(float(np.linalg.norm(run.flat(after) - start)))
  return {'norm_clipping': round(statistics.median(norms), 2), 'zeroing': round(3 * statistics.median(norms), 2)}


def _attacked(aggregation, name):
  run, found = _Run(aggregation), {}
  for attack in _ATTACKS.value:
    config = dataclasses.replace(_BASE, attack=configs.AttackConfig(attack=attack, **_SETTINGS[attack]))
    results = [run.train(config, int(seed)) for seed in _SEEDS.value]
    found[attack] = {key: _summary([result[key] for result in results]) for key in results[0]}
    print(name, attack, found[attack], flush=True)
  return found


def _compressed(aggregation, name):
  from tff_vision.aggregation import traffic
  run = _Run(aggregation)
  results = [run.train(_BASE, int(seed)) for seed in _SEEDS.value]
  length = len(run.flat(run.start(_task(_BASE, seed=0))))
  found = {'bytes_up': traffic.bytes_up(dataclasses.replace(_BASE, aggregation=aggregation), {'mode': 'none'},
                                        length=length),
           'accuracy': _summary([result['accuracy'] for result in results])}
  print(name, found, flush=True)
  return found


def _summary(values):
  return {'mean': statistics.mean(values), 'sd': statistics.stdev(values) if len(values) > 1 else 0.0, 'values': values}


def _task(config, *, seed):
  from tff_vision import tasks
  return tasks.build_task(dataclasses.replace(config, program=configs.ProgramConfig(seed=seed)))


class _Run:
  """One aggregation, built once: the same computation serves every attack and seed."""

  def __init__(self, aggregation):
    import numpy as np

    from tff_vision.aggregation import codecs, error_feedback, stack
    from tff_vision.learning import attacked_work
    from tff_vision.learning import learning_process as process
    from tff_vision.privacy import plan
    self._aggregation = aggregation
    self._evaluator = None
    layer = attacked_work.with_factors
    if aggregation.compression == 'top_k':
      layer = lambda work: error_feedback.with_error_feedback(
          attacked_work.with_factors(work), functools.partial(codecs.build_codec, aggregation))
    self._process = process.build_process(
        _task(_BASE, seed=0), algorithm=_BASE.algorithm, client=_BASE.client, server=_BASE.server,
        aggregator=stack.build_stack(plan.NoPrivacy(sampler=lambda round_num: np.arange(10)), aggregation),
        client_work_layer=layer)

  def start(self, task):
    return self._process.set_model_weights(self._process.initialize(), task.initial_weights())

  def data(self, config, task):
    from tff_vision.data import attacked
    from tff_vision.learning import attacked_work, client_data
    chosen = attacked.attackers(config.attack, len(task.images.train), seed=task.seed)
    if config.attack.attack in attacked_work.UPDATE_ATTACKS:
      return attacked_work.FactorData(client_data.SentData(task=task), config.attack, chosen)
    nobody = configs.AttackConfig(attack='scaled_update')
    return attacked_work.FactorData(client_data.SentData(task=task), nobody, ())

  def round(self, state, data, cohort, round_num):
    return self._process.next(state, [data.request(client, round_num) for client in cohort]).state

  def flat(self, state):
    import numpy as np
    weights = self._process.get_model_weights(state).trainable
    return np.concatenate([np.ravel(np.asarray(w)) for w in weights])

  def train(self, config, seed):
    import numpy as np

    from tff_vision.client_state import driver, store
    from tff_vision.learning import evaluation
    from tff_vision.report import attack_report
    task = _task(config, seed=seed)
    state, data, process = self.start(task), self.data(config, task), self._process
    with tempfile.TemporaryDirectory() as folder:
      if self._aggregation.compression == 'top_k':
        process = driver.KeptStateProcess(self._process, store.Store(
            pathlib.Path(folder), np.zeros(len(self.flat(state)), np.float32)))
        data = driver.NumberedData(data)
      for number in range(1, _ROUNDS.value + 1):
        state = process.next(state, [data.request(client, number) for client in range(10)]).state
    if self._evaluator is None:
      self._evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing)
    evaluator = self._evaluator
    self._process.get_model_weights(state).assign_weights_to(evaluator.model)
    found = {'accuracy': evaluator.evaluate(task.images.test)['evaluation']['accuracy']}
    if config.attack.attack == 'backdoor_patch':
      found['backdoor_success_rate'] = attack_report.backdoor_success_rate(config.attack, task, evaluator)
    return found


if __name__ == '__main__':
  launch.launch(main, flag_modules=(output_flags,))
