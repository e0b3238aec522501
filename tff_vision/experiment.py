"""The composition root: from a config to a finished run directory."""

import asyncio
import concurrent.futures
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from tff_vision import assembly, budget_file_config, compatibility, configs, tasks
from tff_vision.aggregation import composing, secured, traffic
from tff_vision.data import images as images_lib
from tff_vision.learning import evaluation, process
from tff_vision.privacy import budget_file, charge
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import attack_report, export, json_file, loop, report, run_directory, summary
from tff_vision.program import journal as journal_lib
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
        budget: budget_file_config.BudgetFileConfig = budget_file_config.BudgetFileConfig(),  # noqa: B008  Frozen.
        on_start: Callable[[tasks.Task, plan_lib.PrivacyPlan], None] = lambda task, plan: None,
        on_round: Callable[[loop.RoundRecord], None] = lambda record: None,
        stop_requested: Callable[[], bool] = lambda: False) -> RunResult:
  """Trains, evaluates, exports and reports what `config` describes.

  Args:
    launch: `run_dir` must be set.
    runtime: Where the clients' work is done.
    budget: What the run is charged to; a run that goes on is charged to what it was charged to before.
    on_start: Called when everything is built and before the first round.
    on_round: Called after each round.
    stop_requested: Asked after each round; True ends the run resumably.

  Raises:
    ValueError: The config cannot be run, or the folder is not this run's; nothing has been written then.
  """
  arguments = (config, launch, runtime, budget, on_start, on_round, stop_requested)
  try:
    asyncio.get_running_loop()
  except RuntimeError:
    return _run(*arguments)
  # A notebook's kernel runs an event loop in this thread, so ours needs another; TFF's contexts are a thread's own.
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    return pool.submit(_run, *arguments).result()


def _run(config, launch, runtime, budget, on_start, on_round, stop_requested):
  clock = summary.Clock(time.monotonic())
  directory = run_directory.RunDirectory(pathlib.Path(launch.run_dir))
  directory.check_usable(config, resume=launch.resume)
  composing.check(config, data_placement=runtime.data_placement)
  compatibility.check(config.algorithm.algorithm, f'runtime={runtime.runtime}',
                      f'data_placement={runtime.data_placement}')
  task = tasks.build_task(config)
  journal = journal_lib.Journal(directory.journal)
  secret = directory.secret()
  plan = build_plan(config, task, secret=secret).charged(journal.past())
  task = dataclasses.replace(task, client=plan.client_data(task.client))
  program = _within_budget(config, plan)
  budget = _same_budget(budget, journal)
  charged = charge.Charge(budget, run=secret, data=fingerprint(task.images), delta=getattr(plan, 'delta', None),
                          label=f'run_dir={launch.run_dir}')
  secured.check_run(config.secure, plan, rounds=program.rounds, run_dir=directory.path)
  evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing,
                                   objective=task.objective)
  with directory.opened(config, secret), runtimes.open_runtime(runtime) as place:
    parts = assembly.assemble(config, task, plan, runtime, directory.client_states, place)
    secure_sum = secured.describe(config.secure, plan, clients=config.cohort.cohort_size,
                                  parameters_count=parts.sent_length, on_workers=bool(runtime.workers),
                                  tells=process.tells(task, config.algorithm), kept=parts.kept,
                                  rounds=config.program.rounds)
    client_traffic = loop.Traffic(bytes_down=traffic.bytes_down(config, evaluator.model),
                                  bytes_up=traffic.bytes_up(config, secure_sum, length=parts.sent_length))
    charged.reserve(plan.spent(program.rounds))
    if budget.budget_file is not None:
      journal.charge_to(budget.budget_file)
    on_start(task, plan)
    clock.setup_done()
    training = loop.run(
        parts.process, task=task, plan=plan, runtime=place, client_data=parts.data, traffic=client_traffic,
        evaluator=evaluator, program=program, managers=loop.Managers.in_directory(directory), journal=journal,
        stop_at_epsilon=config.privacy.stop_at_epsilon, on_round=on_round,
        stop_requested=stop_requested,
        evaluate_personal=parts.own_models and functools.partial(parts.own_models.evaluate, evaluator))
    try:
      outcome = asyncio.run(training)
    except BaseException:
      if journal.past() == plan_lib.Past():
        charged.release()
      raise
    totals = charged.settle(plan.charged(journal.past()).spent(len(outcome.history)))
    if outcome.interrupted:
      return RunResult(directory=directory, report=None, rounds=len(outcome.history))
    personal = outcome.personal or assembly.personalize(config, task, runtime, place, outcome.weights, evaluator)
    plan = plan.charged(journal.past())
    parity = export.export(task, outcome.weights, directory.export, evaluator)
    content = summary.build_report(config, task=task, plan=plan, outcome=outcome, evaluator=evaluator, clock=clock,
                                   parity=parity, worker_pids=place.pids)
    content['personal'] = personal
    content['secure_sum'] = secure_sum
    if totals is not None:
      content['budget_file'] = {**totals, 'file': budget.budget_file}
    content['traffic'] = summary.traffic(outcome.history, client_traffic)
    if config.attack.attack != 'none':
      content['attack'] = attack_report.describe(config.attack, task, evaluator)
  json_file.write(directory.report_json, content)
  report.write_html(directory.report_html, content, task.images)
  if launch.json is not None:
    json_file.write(launch.json, content)
  return RunResult(directory=directory, report=content, rounds=len(outcome.history))


def build_plan(config: configs.ExperimentConfig, task: tasks.Task, *, secret: bytes | None = None
               ) -> plan_lib.PrivacyPlan:
  """Returns the privacy plan of a config for its task.

  Args:
    secret: The run's; None: cohorts that count on chance, and noise on metrics, are others than the run's.

  Raises:
    ValueError: The settings would make the stated epsilon false, or cannot be met.
  """
  clients = task.images.train
  plan = plan_lib.build_plan(
      config.privacy, config.cohort, population=len(clients), rounds=config.program.rounds, seed=config.program.seed,
      sizes=[clients.num_examples(client) for client in range(len(clients))], client=config.client,
      max_staleness=config.algorithm.max_staleness if config.algorithm.algorithm == 'fedbuff' else None,
      secret=secret)
  return plan.for_secure_sum(config.secure).for_model(task.keras_model(), task.batch_spec[0])


def fingerprint(images: images_lib.FederatedImages) -> budget_file.Data:
  """Returns what a budget over several runs knows the data by."""
  return budget_file.fingerprint(
      images.name, images.class_names,
      [(name, images.train.num_examples(client)) for client, name in enumerate(images.train.client_ids)])


def planned(config: configs.ExperimentConfig) -> tuple[budget_file.Data, plan_lib.PrivacyPlan]:
  """Returns the data of a run and its plan, without running it.

  Raises:
    ValueError: The config cannot be run.
  """
  task = tasks.build_task(config)
  return fingerprint(task.images), build_plan(config, task)


def _same_budget(budget, journal):
  """Returns the budget of a run, with the whole path of its file: that of its beginning, if it goes on.

  Raises:
    ValueError: It was charged to another.
  """
  if budget.budget_file is not None:
    budget = dataclasses.replace(budget, budget_file=str(pathlib.Path(budget.budget_file).resolve()))
  if journal.budget_file is None or journal.budget_file == budget.budget_file:
    return budget
  if budget.budget_file is None:
    return budget_file_config.BudgetFileConfig(budget_file=journal.budget_file)
  raise ValueError(f'budget_file={budget.budget_file}, but this run was charged to {journal.budget_file}; leave '
                   'budget_file out.')


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
