"""One run, from an experiment and a folder to a report: prepare, train, conclude."""

import asyncio
import concurrent.futures
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable

from tff_vision import assembly, catalogue, configs, plugins, trackers
from tff_vision.accounting import budget_charge
from tff_vision.accounting import budget_file as budget_file_lib
from tff_vision.audit import run_audit
from tff_vision.configs import budget_file_config
from tff_vision.experiment import concluding, definition, following, planning, result, training
from tff_vision.experiment import evaluations as evaluations_lib
from tff_vision.learning import contribution
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import journal as journal_lib
from tff_vision.program import json_file, loop, managers, run_directory, selection
from tff_vision.report import content as content_lib
from tff_vision.runtime.device import visible
from tff_vision.runtime.driver import runtimes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watcher:
  """The callbacks that follow a run and may stop it.

  Attributes:
    on_start: Called when everything is built, before the first round.
    on_round: Called after each round, with the part of its record that may be published.
    stop_requested: Called after each round; if it returns True, the run stops and can be resumed.
  """
  on_start: Callable[[planning.Planned], None] = lambda planned: None
  on_round: Callable[[loop.RoundRecord], None] = lambda record: None
  stop_requested: Callable[[], bool] = lambda: False

  def __post_init__(self):
    for field in dataclasses.fields(self):  # A round of training would be lost before it is called.
      if not callable(getattr(self, field.name)):
        raise ValueError(f'{field.name} must be a function, found {getattr(self, field.name)!r}.')


def run(made: definition.Definition, launch: configs.LaunchConfig, watcher: Watcher, *, fewer_clients: bool = False
        ) -> result.RunResult:
  """Trains, evaluates, exports and reports.

  Args:
    launch: `run_dir` must be set.
    fewer_clients: Whether `cohort_size` becomes the number of clients if there are fewer.

  Raises:
    ValueError: The experiment cannot be run, or the folder does not belong to this run; in both cases nothing was
      written.
  """
  try:
    asyncio.get_running_loop()
  except RuntimeError:
    return _run(made, launch, watcher, fewer_clients)
  # A notebook's kernel runs an event loop in this thread, so this run needs another thread. TFF's contexts belong to
  # one thread.
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    return pool.submit(_run, made, launch, watcher, fewer_clients).result()


def _run(made, launch, watcher, fewer_clients):
  launch = launch.settled()
  clock = content_lib.Clock(time.monotonic())
  visible.claim(made.runtime)  # Before images or a model make TensorFlow take devices and threads.
  made = made.within_population() if fewer_clients else made
  directory = run_directory.RunDirectory(pathlib.Path(launch.run_dir))
  directory.check_usable(made.config, resume=launch.resume)
  trackers.check(launch.tracker)
  if launch.resume and directory.is_wiped():
    return _finished(made, directory, launch)
  planning.check(made)
  problem = made.problem
  config = made.config
  if plugins.is_own(config.model.model, catalogue.names('model')) or plugins.is_own(
      config.task.task, catalogue.names('task')):  # Those of the package can be saved.
    problem.check_file(f'model={plugins.shown(config.model.model)}')
  if made.config.aggregation.contribution != 'none':  # Refused before anything is written.
    contribution.metric_of(made.config.aggregation, problem.objective, problem.images.test)
  if launch.resume:
    directory.check_data(made.fingerprint)
  journal, secret = journal_lib.Journal(directory.journal), directory.secret()
  plan = functools.partial(planning.plan, made, secret=secret, journal=journal, run_dir=directory.path)
  # If the workers hold the data, only they know the numbers of examples that the plan needs.
  ready = plan(problem) if made.runtime.data_placement == 'driver' else None
  budget = _same_budget(made.budget, journal)
  privacy = made.config.privacy
  if (budget.budget_file is not None and privacy.evaluation_noise_multiplier is not None
      and privacy.of_examples):  # Of clients, the ledger of training includes the evaluations.
    raise ValueError('evaluation_noise_multiplier does not go with budget_file, which is charged for training '
                     'examples: in another run the held-out ones may be among those.')
  with directory.opened(made.config, secret, made.fingerprint), runtimes.open_runtime(made.runtime) as place:
    planned = ready or plan(assembly.counted(problem, made.runtime, place, journal.example_counts))
    audit = run_audit.begin(made.config, planned.task, planned.plan, secret, directory.canaries, place)
    prepared = training.Training.prepare(made, planned, place, directory.client_states, audit=audit)
    planned = prepared.planned
    if made.config.program.select_best is not None and prepared.parts.own_models is not None:
      raise ValueError(f'select_best={made.config.program.select_best} does not go with models of the clients\' own: '
                       'what clients keep is of the last round, and not of the best.')
    evaluations = evaluations_lib.of(made.config, planned.task, planned.plan, made.runtime, place, secret)
    # Refused before anything of the run is written.
    chosen = selection.of(made.config.program.select_best, made.config.program.patience, planned.task.objective,
                          evaluations.measures)
    charged = budget_charge.Charge(
        budget, run=secret, data=_identity(budget, planned.task.images), delta=getattr(planned.plan, 'delta', None),
        label=f'run_dir={launch.run_dir}', session=None if budget.budget_file is None else
        budget_file_lib.Session(journal.new_session()))
    charged.reserve(planned.plan.spent(planned.program.rounds))
    if budget.budget_file is not None:
      journal.charge_to(budget.budget_file)
    watcher.on_start(planned)
    clock.setup_done()
    journal.note_counts(planned.plan.example_counts)
    try:
      followed = following.Following(launch, directory, made, prepared)
      outcome = asyncio.run(_rounds(prepared, evaluations, chosen, directory, journal, charged, watcher, followed,
                                    launch.stop_after))
    except BaseException:
      if journal.past() == plan_lib.Past():
        charged.release()
      raise
    past = journal.past()
    totals = charged.settle(planned.plan.charged(past).spent(len(outcome.history)))
    if outcome.interrupted:
      followed.interrupted(outcome)
      return result.RunResult(directory=directory, report=None, rounds=len(outcome.history), experiment=made)
    content = concluding.conclude(
        made, launch, directory, outcome, clock=clock, place=place, task=planned.task,
        plan=planned.plan.charged(past), evaluator=prepared.evaluator, secure_sum=prepared.secure_sum,
        client_traffic=prepared.traffic, audit=audit, program=planned.program, evaluations=evaluations, past=past,
        budget=None if totals is None else {**totals.to_dict(), 'file': budget.budget_file})
    followed.finished(content)
  return result.RunResult(directory=directory, report=content, rounds=len(outcome.history), experiment=made)


async def _rounds(prepared, evaluations, chosen, directory, journal, charged, watcher, followed, stop_after):
  """Trains from the latest checkpoint in an open run folder to the end."""
  planned, config = prepared.planned, prepared.made.config
  rounds = loop.Training(
      process=prepared.parts.process, client_data=prepared.parts.data, place=prepared.place, task=prepared.joined,
      plan=planned.plan, program=planned.program, traffic=prepared.traffic, evaluator=prepared.evaluator,
      # How good the clients' own models are is covered by no noise.
      own_models=prepared.parts.own_models if planned.plan.releases_exact_metrics else None,
      observer=prepared.audit, contribution=prepared.contribution, validate=evaluations.validation,
      selection=chosen)
  books = loop.Books(
      journal=journal, managers=managers.Managers.in_directory(
          directory, wiped=config.promises, timeless=not planned.plan.releases_exact_metrics,
          settings=following.settings(config)),
      stop_at_epsilon=config.privacy.stop_at_epsilon, charged=charged, on_round=watcher.on_round,
      on_evaluated=followed.evaluated, stop_requested=watcher.stop_requested, stop_after=stop_after)
  return await loop.run(rounds, books)


def _identity(budget, images):
  """Returns by what a budget knows the data; None without a budget, because it names every client."""
  return None if budget.budget_file is None else planning.fingerprint(images)


def _finished(made, directory, launch):
  """Returns the run of a finished folder; completes the wiping of secrets if it was interrupted."""
  with directory.opened(made.config):
    directory.wipe()
  content = directory.read_report()
  if launch.json is not None:
    json_file.write(launch.json, content)
  return result.RunResult(directory=directory, report=content, rounds=content['rounds'], experiment=made)


def _same_budget(budget, journal):
  """Returns the budget of a run, with the absolute path of its file; a resumed run keeps its first budget.

  Raises:
    ValueError: The run was charged to another budget.
  """
  if budget.budget_file is not None:
    budget = dataclasses.replace(budget, budget_file=str(pathlib.Path(budget.budget_file).resolve()))
  if journal.budget_file is None or journal.budget_file == budget.budget_file:
    return budget
  if budget.budget_file is None:
    return budget_file_config.BudgetFileConfig(budget_file=journal.budget_file)
  raise ValueError(f'budget_file={budget.budget_file}, but this run was charged to {journal.budget_file}; leave '
                   'budget_file out.')
