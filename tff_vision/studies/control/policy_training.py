"""Trains a policy over clients that play, evaluates it in every environment, and writes the run's folder."""

import asyncio
import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, seeds, tasks
from tff_vision.aggregation import secured, stack
from tff_vision.configs import runtime_config
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import json_file, loop, run_directory
from tff_vision.report import page
from tff_vision.runtime.driver import runtimes
from tff_vision.studies.control import catch, control_config, optimum, policy, policy_process


class Arena:
  """Plays on the driver, to evaluate.

  Attributes:
    model: Carries the weights last evaluated.
  """

  def __init__(self, player: policy_process.Player):
    self.model = player.keras_model()
    self._episodes = player.config.control.evaluation_episodes
    self._seed = tf.constant([seeds.derive(player.config.program.seed, 'evaluation'), 0], tf.int64)
    self._play = tf.function(functools.partial(self._caught, self.model, greedy=True))

  def catch_rates(self, weights: tff.learning.models.ModelWeights, environments: Sequence[catch.Environment]
                  ) -> list[float]:
    """Returns the share of balls that the policy catches in each environment, by its likeliest actions."""
    weights.assign_weights_to(self.model)
    return [float(self._play(environment.as_vector())) for environment in environments]

  def random_catch_rate(self, environment: catch.Environment) -> float:
    """Returns the share that a policy catches which knows nothing."""
    return float(self._caught(lambda images: tf.zeros([tf.shape(images)[0], policy.NUM_OUTPUTS]),
                              environment.as_vector(), greedy=False))

  def _caught(self, model, environment, *, greedy):
    return policy.catch_rate(policy.play(model, environment, catch.draw_chance(self._episodes, self._seed),
                                         greedy=greedy))


def run(config: control_config.ControlExperiment, launch: configs.LaunchConfig, *,
        runtime: runtime_config.RuntimeConfig,
        on_round: Callable[[loop.RoundRecord], None]) -> Mapping[str, Any]:
  """Trains, evaluates and writes report.json, report.html and export/policy.keras; returns what report.json holds.

  Raises:
    ValueError: The config cannot be run, or the folder is not this run's.
  """
  directory = run_directory.RunDirectory(pathlib.Path(launch.run_dir), control_config.ControlExperiment)
  directory.check_usable(config, resume=launch.resume)
  control, seed = config.control, config.program.seed
  plan = plan_lib.build_plan(configs.PrivacyConfig(), config.cohort, population=control.environments,
                             rounds=config.program.rounds, seed=seed,
                             cohort_size_bounds=secured.cohort_size_bounds(config.secure))
  secured.check_run(config.secure, plan, rounds=config.program.rounds, run_dir=directory.path)
  player, started = policy_process.Player(config), time.monotonic()
  environments = catch.draw_environments(control.environments + control.unseen_environments,
                                         wind=control.wind, seed=seed)
  known, unseen = environments[:control.environments], environments[control.environments:]
  arena = Arena(player)
  with directory.opened(config), runtimes.open_runtime(runtime) as place:
    made = secured.build_process(config.secure, plan, functools.partial(policy_process.build_process, player),
                                 tells=policy_process.TELLS, place=place, aggregation=config.aggregation,
                                 rounds=config.program.rounds)
    weights, history = asyncio.run(_train(made, player, known, arena, plan, place, directory, on_round))
    alone = _train_alone(player, known, arena, plan, place) if control.alone else None
  content = _report(config, arena, weights, history, known, unseen, alone)
  content['secure_sum'] = secured.describe(config.secure, plan, clients=config.cohort.cohort_size,
                                           tells=policy_process.TELLS,
                                           parameters_count=arena.model.count_params(),
                                           on_workers=bool(runtime.workers), rounds=config.program.rounds)
  content['seconds'] = {'train': sum(record['seconds'] for record in history), 'total': time.monotonic() - started}
  weights.assign_weights_to(arena.model)
  directory.export.mkdir(exist_ok=True)
  arena.model.save(directory.export / 'policy.keras')
  json_file.write(directory.report_json, content)
  page.write_html(directory.report_html, content, None)
  if launch.json is not None:
    json_file.write(launch.json, content)
  return content


async def _train(made, player, known, arena, plan, place, directory, on_round):
  """Returns the final weights and one record a round; begins at the latest checkpoint."""
  program, managers = player.config.program, loop.Managers.in_directory(directory)
  state = made.set_model_weights(made.initialize(), _initial_weights(player))
  saved, _ = await managers.checkpoints.load_latest({'state': state, 'history': b''})
  history = []
  if saved is not None:
    state, history = saved['state'], json.loads(saved['history'].decode())
  for round_num in range(len(history) + 1, program.rounds + 1):
    began, cohort = time.monotonic(), plan.cohort(round_num)
    with place.cohort(cohort, population=len(known)):
      output = made.next(state, [player.request(known[i], i, round_num) for i in cohort])
    state, faults = output.state, place.take_faults()
    record = {'round': round_num, 'seconds': time.monotonic() - began, 'cohort_size': len(cohort),
              'train': {name: float(value) for name, value in output.metrics['client_work']['train'].items()}}
    if faults:
      record['faults'] = [dataclasses.asdict(fault) for fault in faults]
    if round_num % program.rounds_per_evaluation == 0 or round_num == program.rounds:
      rates = arena.catch_rates(made.get_model_weights(state), known)
      record |= {'evaluation': {'catch_rate': float(np.mean(rates))}, 'per_client': {'worst': min(rates)}}
    history.append(record)
    await managers.checkpoints.save({'state': state, 'history': json.dumps(history).encode()}, round_num)
    await loop.release(managers, record)
    on_round(record)
  return made.get_model_weights(state), history


def _train_alone(player, known, arena, plan, place):
  """Returns for each client the catch rates, in every client's environment, of the policy that it learns by itself."""
  made, rates = policy_process.build_process(player, aggregator=stack.build_stack(plan)), []
  start = made.set_model_weights(made.initialize(), _initial_weights(player))
  for client, environment in enumerate(known):
    state = start
    for round_num in range(1, player.config.program.rounds + 1):
      with place.cohort([client], population=len(known)):
        state = made.next(state, [player.request(environment, client, round_num)]).state
    rates.append(arena.catch_rates(made.get_model_weights(state), known))
  return rates


def _initial_weights(player):
  with tasks.keras_seed(seeds.derive(player.config.program.seed, 'initial weights') % 2**32):
    return tff.learning.models.ModelWeights.from_model(player.keras_model())


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
          'environments': rows, 'unseen_environments': others, 'privacy': {'mechanism': 'none'},
          'rounds': len(history), 'history': history}
