"""The composition root: from a config to a finished run directory."""

import asyncio
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_vision import compatibility, configs, tasks
from tff_vision.aggregation import codecs, composing, error_feedback, flat, secured, traffic
from tff_vision.client_state import driver, keeping, store
from tff_vision.data import attacked
from tff_vision.learning import attacked_work, client_data, evaluation, process
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import attack_report, export, json_file, loop, report, run_directory, summary
from tff_vision.runtime import runtime_config, runtimes


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
  """A finished or interrupted run.

  Attributes:
    report: What report.json holds; None when the run was interrupted.
    rounds: Rounds that are done.
  """
  directory: run_directory.RunDirectory
  report: Mapping[str, Any] | None
  rounds: int


def run(config: configs.ExperimentConfig, launch: configs.LaunchConfig, *,
        runtime: runtime_config.RuntimeConfig = runtime_config.RuntimeConfig(),  # noqa: B008  Frozen.
        on_start: Callable[[tasks.Task, plan_lib.PrivacyPlan], None] = lambda task, plan: None,
        on_round: Callable[[loop.RoundRecord], None] = lambda record: None,
        stop_requested: Callable[[], bool] = lambda: False) -> RunResult:
  """Trains, evaluates, exports and reports what `config` describes.

  Args:
    launch: `run_dir` must be set.
    runtime: Where the clients' work is done.
    on_start: Called when everything is built and before the first round.
    on_round: Called after each round.
    stop_requested: Asked after each round; True ends the run resumably.

  Raises:
    ValueError: The config cannot be run, or the folder is not this run's; nothing has been written then.
  """
  clock = summary.Clock(time.monotonic())
  directory = run_directory.RunDirectory(pathlib.Path(launch.run_dir))
  directory.check_usable(config, resume=launch.resume)
  composing.check(config, data_placement=runtime.data_placement)
  compatibility.check(config.algorithm.algorithm, f'runtime={runtime.runtime}',
                      f'data_placement={runtime.data_placement}')
  task = tasks.build_task(config)
  plan = build_plan(config, task)
  task = dataclasses.replace(task, client=plan.client_data(task.client))
  program = _within_budget(config, plan)
  secured.check_run(config.secure, plan, rounds=program.rounds, run_dir=directory.path)
  evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing)
  with directory.opened(config), runtimes.open_runtime(runtime) as place:
    learning_process, data, sent_length = build_process(config, task, plan, runtime, directory, place)
    secure_sum = secured.describe(config.secure, plan, clients=config.cohort.cohort_size, parameters_count=sent_length,
                                  on_workers=bool(runtime.workers))
    client_traffic = loop.Traffic(bytes_down=traffic.bytes_down(config, evaluator.model),
                                  bytes_up=traffic.bytes_up(config, secure_sum, length=sent_length))
    on_start(task, plan)
    clock.setup_done()
    outcome = asyncio.run(loop.run(
        learning_process, task=task, plan=plan, runtime=place, client_data=data, traffic=client_traffic,
        evaluator=evaluator, program=program, managers=_managers(directory), on_round=on_round,
        stop_requested=stop_requested))
    if outcome.interrupted:
      return RunResult(directory=directory, report=None, rounds=len(outcome.history))
    parity = export.export(task, outcome.weights, directory.export, evaluator)
    content = summary.build_report(config, task=task, plan=plan, outcome=outcome, evaluator=evaluator, clock=clock,
                                   parity=parity, worker_pids=place.pids)
    content['secure_sum'] = secure_sum
    content['traffic'] = summary.traffic(outcome.history, client_traffic)
    if config.attack.attack != 'none':
      content['attack'] = attack_report.describe(config.attack, task, evaluator)
  json_file.write(directory.report_json, content)
  report.write_html(directory.report_html, content, task.images)
  if launch.json is not None:
    json_file.write(launch.json, content)
  return RunResult(directory=directory, report=content, rounds=len(outcome.history))


def build_process(config: configs.ExperimentConfig, task: tasks.Task, plan: plan_lib.PrivacyPlan,
                  runtime: runtime_config.RuntimeConfig, directory: run_directory.RunDirectory, place: Any):
  """Returns the learning process, what it is given for each client, and how many values a client sends.

  Args:
    task: With the plan's `client_data`.
    place: What `runtimes.open_runtime` opened.
  """
  data = client_data.SentData(task=task)
  sent = _SentLength()
  build = _layered(functools.partial(
      process.build_process, task, algorithm=config.algorithm, client=config.client, server=config.server,
      schedule=config.schedule, rounds=config.program.rounds, private_training=plan.client_work), sent)
  if runtime.data_placement == 'worker':
    data = client_data.WorkerData(task=task, folder=runtime.worker_data_dir)
    build = _reading(build, data)
  if config.algorithm.algorithm == 'fedbuff':
    data = client_data.LateData(data=data, begun=plan.begun)
  build, data = _with_client_layers(config, task, build, data)
  made = secured.build_process(config.secure, plan, build, aggregation=config.aggregation, place=place,
                               largest_weight=process.largest_weight(task, config.algorithm))
  kept = process.kept_at_first(task, config.algorithm, config.client)
  if config.aggregation.compression == 'top_k':
    kept = np.zeros(sent.length, np.float32)
  if kept is not None:
    made = driver.KeptStateProcess(made, store.Store(directory.client_states, kept))
    data = driver.NumberedData(data)
  return made, data, sent.length


class _SentLength:
  """A layer that leaves client work as it is and notes how many values it sends."""

  def __call__(self, client_work):
    self.length = flat.length(keeping.sent_type(client_work))
    return client_work


def build_plan(config: configs.ExperimentConfig, task: tasks.Task) -> plan_lib.PrivacyPlan:
  """Returns the privacy plan of a config for its task.

  Raises:
    ValueError: The settings would make the stated epsilon false, or cannot be met.
  """
  clients = task.images.train
  plan = plan_lib.build_plan(
      config.privacy, config.cohort, population=len(clients), rounds=config.program.rounds, seed=config.program.seed,
      sizes=[clients.num_examples(client) for client in range(len(clients))], client=config.client,
      max_staleness=config.algorithm.max_staleness if config.algorithm.algorithm == 'fedbuff' else None)
  return plan.for_model(task.keras_model(), task.batch_spec[0])


def _within_budget(config, plan):
  """Returns the program, cut before the round that would exceed `stop_at_epsilon`."""
  budget = config.privacy.stop_at_epsilon
  if budget is None:
    return config.program
  rounds = plan.affordable_rounds(config.program.rounds, budget)
  if not rounds:
    raise ValueError(f'stop_at_epsilon={budget:g} does not pay for one round, which costs epsilon '
                     f'{plan.ledger(1)["epsilon"]:.3g}.')
  return dataclasses.replace(config.program, rounds=rounds)


def _reading(build, data):
  """Returns `build` for clients whose examples are read on their workers."""
  return lambda *, aggregator, client_work_layer=_same: data.read_on_workers(
      build(aggregator=aggregator, client_work_layer=client_work_layer))


def _with_client_layers(config, task, build, data):
  """Returns `build` and the clients' data with what the config does to single updates: attacks, then compression."""
  if config.attack.attack in attacked_work.UPDATE_ATTACKS:
    chosen = attacked.attackers(config.attack, len(task.images.train), seed=config.program.seed)
    build, data = (_layered(build, attacked_work.with_factors),
                   attacked_work.FactorData(data, config.attack, chosen))
  if config.aggregation.compression == 'top_k':
    codec_for = functools.partial(codecs.build_codec, config.aggregation)
    build = _layered(build, functools.partial(error_feedback.with_error_feedback, codec_for=codec_for))
  return build, data


def _layered(build, layer):
  """Returns `build` with one more layer around the client work, inside of those that are asked for later."""
  return lambda *, aggregator, client_work_layer=_same: build(
      aggregator=aggregator, client_work_layer=lambda client_work: client_work_layer(layer(client_work)))


def _same(client_work):
  return client_work


def _managers(directory):
  return loop.Managers(
      checkpoints=tff.program.FileProgramStateManager(str(directory.checkpoints), keep_total=2),
      releases=(tff.program.CSVFileReleaseManager(str(directory.metrics), key_fieldname='round_num'),
                tff.program.TensorBoardReleaseManager(str(directory.logdir))))
