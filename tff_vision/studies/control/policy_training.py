"""Trains a policy over clients, evaluates it in every environment, and writes the folder of the run."""

import asyncio
import dataclasses
import datetime
import functools
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, seeds
from tff_vision.accounting import evaluated_rounds
from tff_vision.configs import runtime_config
from tff_vision.program import json_file, loop, run_directory
from tff_vision.program import managers as managers_lib
from tff_vision.report import origin, page
from tff_vision.runtime.device import visible
from tff_vision.runtime.driver import runtimes
from tff_vision.studies.control import catch, control_config, optimum, policy, policy_process

METRICS = ('catch_rate',)  # Shown after each round.


class Arena:
  """Plays on the driver, for evaluation.

  Attributes:
    model: Holds the weights that were evaluated last.
  """

  def __init__(self, player: policy_process.Player):
    self.model = player.keras_model()
    self._episodes = player.config.control.evaluation_episodes
    self._seed = tf.constant([seeds.derive(player.config.program.seed, 'evaluation'), 0], tf.int64)
    self._play = tf.function(functools.partial(self._caught, self.model, greedy=True))

  def catch_rates(self, weights: tff.learning.models.ModelWeights, environments: Sequence[catch.Environment]
                  ) -> list[float]:
    """Returns the share of balls that the policy catches in each environment if it takes the most likely actions."""
    weights.assign_weights_to(self.model)
    return [float(self._play(environment.as_vector())) for environment in environments]

  def random_catch_rate(self, environment: catch.Environment) -> float:
    """Returns the share of balls that a random policy catches."""
    return float(self._caught(lambda images: tf.zeros([tf.shape(images)[0], policy.NUM_OUTPUTS]),
                              environment.as_vector(), greedy=False))

  def _caught(self, model, environment, *, greedy):
    return policy.catch_rate(policy.play(model, environment, catch.draw_chance(self._episodes, self._seed),
                                         greedy=greedy))


def run(config: control_config.ControlExperiment, launch: configs.LaunchConfig, *,
        runtime: runtime_config.RuntimeConfig,
        on_round: Callable[[loop.RoundRecord], None]) -> Mapping[str, Any]:
  """Trains, evaluates and writes report.json, report.html and export/policy.keras; returns the content of report.json.

  Raises:
    ValueError: The config cannot be run, or the folder does not belong to this run.
  """
  directory = run_directory.RunDirectory(pathlib.Path(launch.run_dir), control_config.ControlExperiment)
  directory.check_usable(config, resume=launch.settled().resume)
  visible.claim(runtime)  # Before a policy is built, which makes TensorFlow take devices and threads.
  control, player, started = config.control, policy_process.Player(config), time.monotonic()
  began = datetime.datetime.now(datetime.UTC)
  environments = catch.draw_environments(control.environments + control.unseen_environments,
                                         wind=control.wind, seed=config.program.seed)
  known, unseen = environments[:control.environments], environments[control.environments:]
  made = policy_process.Game(player, known).experiment()
  made.check_run(directory.path)
  arena = Arena(player)
  with directory.opened(config), runtimes.open_runtime(runtime) as place:
    trainer = made.prepare(place, on_workers=bool(runtime.workers))
    weights, history = asyncio.run(_train(trainer, config.program, known, arena, directory, on_round))
    alone = _train_alone(made, arena, place) if control.alone else None
  content = _report(config, arena, weights, history, known, unseen, alone)
  content['privacy'] = trainer.plan.ledger(config.program.rounds).to_json()
  content['secure_sum'] = trainer.secure_sum
  content['origin'] = origin.describe(launch.run_dir, began)
  content['seconds'] = {'train': sum(record['seconds'] for record in history), 'total': time.monotonic() - started}
  weights.assign_weights_to(arena.model)
  directory.export.mkdir(exist_ok=True)
  arena.model.save(directory.export / 'policy.keras')
  json_file.write(directory.report_json, content)
  page.write_html(directory.report_html, content, None)
  if launch.json is not None:
    json_file.write(launch.json, content)
  return content


async def _train(trainer, program, known, arena, directory, on_round):
  """Returns the final weights and one record a round; begins at the latest checkpoint."""
  managers, state = managers_lib.Managers.in_directory(directory), trainer.begin()
  saved, _ = await managers.checkpoints.load_latest({'state': state, 'history': b''})
  history = []
  if saved is not None:
    state, history = saved['state'], json.loads(saved['history'].decode())
  for round_num in range(len(history) + 1, program.rounds + 1):
    began, cohort = time.monotonic(), trainer.plan.cohort(round_num)
    output = trainer.next(state, round_num, cohort)
    state, faults = output.state, trainer.place.take_faults()
    record = {'round': round_num, 'seconds': time.monotonic() - began, 'cohort_size': len(cohort),
              'train': {name: float(value) for name, value in output.metrics['client_work']['train'].items()}}
    if faults:
      record['faults'] = [dataclasses.asdict(fault) for fault in faults]
    if evaluated_rounds.is_evaluated(round_num, program.rounds_per_evaluation, program.rounds):
      rates = arena.catch_rates(trainer.weights(state), known)
      record |= {'evaluation': {'catch_rate': float(np.mean(rates))}, 'per_client': {'worst': min(rates)}}
    history.append(record)
    await managers.checkpoints.save({'state': state, 'history': json.dumps(history).encode()}, round_num)
    await managers_lib.release(managers, record)
    on_round(record)
  return trainer.weights(state), history


def _train_alone(made, arena, place):
  """Returns, for the policy that each client learns alone, the catch rates in every client's environment."""
  trainer, rates = dataclasses.replace(made, secure_sum=configs.SecureConfig(),
                                       aggregator=configs.AggregationConfig()).prepare(place), []
  for client in range(made.population):
    state = trainer.begin()
    for round_num in range(1, made.rounds + 1):
      state = trainer.next(state, round_num, [client]).state
    rates.append(arena.catch_rates(trainer.weights(state), made.learner.environments))
  return rates


def _report(config, arena, weights, history, known, unseen, alone):
  """Returns report.json's content; docs/how-to/reinforcement.md lists its keys."""
  def described(environments):
    return [{'environment': number, **dataclasses.asdict(environment), 'federated_catch_rate': rate,
             'random_catch_rate': arena.random_catch_rate(environment),
             'best_possible_catch_rate': optimum.best_catch_rate(environment)}
            for number, (environment, rate) in enumerate(zip(environments, arena.catch_rates(weights, environments),
                                                             strict=True))]
  rows, others = described(known), described(unseen)
  for i, row in enumerate(rows if alone else ()):
    row['alone_catch_rate'] = alone[i][i]
    row['alone_elsewhere_catch_rate'] = float(np.mean([rate for j, rate in enumerate(alone[i]) if j != i] or [np.nan]))
  numbers = lambda rows: {name.removeprefix('federated_'): float(np.mean([row[name] for row in rows]))
                          for name in rows[0] if name.endswith('_catch_rate')}
  return {'config': dataclasses.asdict(config), 'dataset': {'name': 'catch on pixels'},
          'model': {'name': config.model.model, 'parameters': arena.model.count_params()},
          'evaluation': numbers(rows), 'unseen': {'evaluation': numbers(others)} if others else None,
          'environments': rows, 'unseen_environments': others,
          'rounds': len(history), 'history': history}
