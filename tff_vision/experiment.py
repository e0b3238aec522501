"""The composition root: from a config to a finished run directory."""

import asyncio
import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tff_vision import assembly, configs, tasks
from tff_vision.accounting import budget_charge, budget_file
from tff_vision.aggregation import composing, secured, traffic
from tff_vision.audit import canary_data, run_audit
from tff_vision.configs import budget_file_config, compatibility, runtime_config, validate
from tff_vision.data import images as images_lib
from tff_vision.export import calibration_images
from tff_vision.export import formats as formats_lib
from tff_vision.export import keras_export as export
from tff_vision.learning import evaluation, learning_process
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import final_state, health, json_file, loop, released, run_directory
from tff_vision.program import journal as journal_lib
from tff_vision.report import attack_report
from tff_vision.report import content as content_lib
from tff_vision.report import page as report
from tff_vision.runtime.driver import runtimes


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
  """A finished or interrupted run.

  Attributes:
    report: What report.json holds; None when the run was interrupted.
    rounds: Rounds that are done.
    load_task: Gives what was learned, from whom.
  """
  directory: run_directory.RunDirectory
  report: Mapping[str, Any] | None
  rounds: int
  load_task: Callable[[], tasks.Task] = dataclasses.field(repr=False)

  @property
  def evaluation(self) -> Mapping[str, Any]:
    """The final model's numbers on the test set; empty where the run was interrupted."""
    return {} if self.report is None else self.report['evaluation']

  @property
  def ledger(self) -> Mapping[str, Any]:
    """What the run cost, with every condition of epsilon; empty where the run was interrupted."""
    return {} if self.report is None else self.report['privacy']

  @property
  def model(self) -> tf.keras.Model:
    """The final model: takes images as they are stored, float32 [batch, height, width, channels]; returns logits.

    Raises:
      ValueError: The run was interrupted, so that there is none.
    """
    if self.report is None:
      raise ValueError(f'the run in {self.directory.path} was interrupted after round {self.rounds}: run it on first.')
    return tf.keras.models.load_model(self.directory.export / 'model.keras', compile=False)

  def export(self, *formats: str, folder: str | os.PathLike[str] | None = None) -> Mapping[str, Any]:
    """Writes the model for deployment, with a model card.

    Args:
      formats: Some of `keras`, `saved_model`, `tflite`, `tflite_int8`; none: the first three.
      folder: To make; None: `deployment` in the run's.

    Raises:
      ValueError: A format is unknown, the folder exists, or the run was interrupted.

    Returns:
      The model card's numbers.
    """
    chosen = formats or ('keras', 'saved_model', 'tflite')
    for name in chosen:
      validate.one_of(formats_lib.FORMATS, format=name)
    target = pathlib.Path(folder) if folder is not None else self.directory.path / 'deployment'
    if target.exists():
      raise ValueError(f'folder={str(target)!r} exists already.')
    task = self.load_task()
    weights = final_state.read_weights(self.directory, task.keras_model())
    ranges = calibration_images.from_test_images(task, calibration_images.IMAGES) if 'tflite_int8' in chosen else None
    return formats_lib.deploy(task, weights, target, report=self.directory.read_report(), formats=list(chosen),
                              calibration=ranges)


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
    on_round: Called after each round, with what of it may be told.
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
  clock = content_lib.Clock(time.monotonic())
  directory = run_directory.RunDirectory(pathlib.Path(launch.run_dir))
  directory.check_usable(config, resume=launch.resume)
  if launch.resume and directory.is_wiped():
    return _finished(directory, config, launch)
  composing.check(config, data_placement=runtime.data_placement)
  compatibility.check(config.algorithm.algorithm, f'runtime={runtime.runtime}',
                      f'data_placement={runtime.data_placement}')
  task = tasks.build_task(config)
  if launch.resume:
    directory.check_data(task.images.fingerprint)
  journal = journal_lib.Journal(directory.journal)
  secret = directory.secret()
  plan_run = functools.partial(_plan_run, config, journal=journal, secret=secret, directory=directory)
  # Where the workers have the data, only they know what the plan must be made for.
  ready = plan_run(task) if runtime.data_placement == 'driver' else None
  budget = _same_budget(budget, journal)
  evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing,
                                   objective=task.objective)
  with directory.opened(config, secret, task.images.fingerprint), runtimes.open_runtime(runtime) as place:
    task, plan, program = ready or plan_run(assembly.counted(task, runtime, place, journal.example_counts))
    charged = budget_charge.Charge(budget, run=secret, data=fingerprint(task.images),
                                   delta=getattr(plan, 'delta', None), label=f'run_dir={launch.run_dir}')
    joined, audit = run_audit.begin(config, task, plan, secret, directory.journal.with_name('canaries.jsonl'), place)
    parts = assembly.assemble(config, joined, plan, runtime, directory.client_states, place, audit and audit.among)
    secure_sum = secured.describe(config.secure, plan, clients=config.cohort.cohort_size,
                                  parameters_count=parts.sent_length, on_workers=bool(runtime.workers),
                                  tells=learning_process.tells(joined, config.algorithm), kept=parts.kept,
                                  rounds=config.program.rounds)
    client_traffic = loop.Traffic(bytes_down=traffic.bytes_down(evaluator.model, parts.shown),
                                  bytes_up=traffic.bytes_up(config, secure_sum, length=parts.sent_length))
    charged.reserve(plan.spent(program.rounds))
    if budget.budget_file is not None:
      journal.charge_to(budget.budget_file)
    on_start(task, plan)
    clock.setup_done()
    journal.note_counts(plan.example_counts)
    training = loop.run(
        parts.process, task=joined, plan=plan, runtime=place, client_data=parts.data, traffic=client_traffic,
        evaluator=evaluator, program=program, journal=journal,
        managers=loop.Managers.in_directory(directory, wiped=config.promises, timeless=not plan.releases_exact_metrics),
        stop_at_epsilon=config.privacy.stop_at_epsilon, charged=charged, on_round=on_round,
        stop_requested=stop_requested, observer=audit,
        evaluate_personal=parts.own_models and functools.partial(parts.own_models.evaluate, evaluator))
    try:
      outcome = asyncio.run(training)
    except BaseException:
      if journal.past() == plan_lib.Past():
        charged.release()
      raise
    totals = charged.settle(plan.charged(journal.past()).spent(len(outcome.history)))
    if outcome.interrupted:
      return RunResult(directory=directory, report=None, rounds=len(outcome.history), load_task=lambda: task)
    personal = outcome.personal or assembly.personalize(config, task, runtime, place, outcome.weights, evaluator)
    plan = plan.charged(journal.past())
    parity = export.export(task, outcome.weights, directory.export, evaluator)
    content = content_lib.build_report(config, task=task, plan=plan, outcome=outcome, evaluator=evaluator, clock=clock,
                                       parity=parity, worker_pids=place.pids)
    content['personal'] = personal
    content['warnings'] = health.warnings(outcome.history, content['evaluation'], task.images.test.examples, config)
    content['secure_sum'] = secure_sum
    if audit is not None:
      audit.report_into(content, plan, functools.partial(
          secured.check_run, config.secure, rounds=program.rounds, run_dir=directory.path))
    if totals is not None:
      content['budget_file'] = {**totals, 'file': budget.budget_file}
    content['traffic'] = content_lib.traffic(outcome.history, client_traffic)
    if config.attack.attack != 'none':
      content['attack'] = attack_report.describe(config.attack, task, evaluator)
    content = released.report(content, config, plan, show_training_data=launch.show_training_data)
    report.write_html(directory.report_html, content, task.images)
    json_file.write(directory.report_json, content)
    if launch.json is not None:
      json_file.write(launch.json, content)
    if config.promises and not launch.keep_secrets:
      directory.wipe()
  return RunResult(directory=directory, report=content, rounds=len(outcome.history), load_task=lambda: task)


def _finished(directory, config, launch):
  """Returns the run in a folder that nothing is left to do in, but for a wiping that was cut off."""
  with directory.opened(config):
    directory.wipe()
  content = directory.read_report()
  if launch.json is not None:
    json_file.write(launch.json, content)
  return RunResult(directory=directory, report=content, rounds=content['rounds'],
                   load_task=functools.partial(tasks.build_task, config))


def build_plan(config: configs.ExperimentConfig, task: tasks.Task, *, secret: bytes | None = None
               ) -> plan_lib.PrivacyPlan:
  """Returns the privacy plan of a config for its task.

  Args:
    secret: The run's; None: cohorts that count on chance, and noise on metrics, are others than the run's.

  Raises:
    ValueError: The settings would make the stated epsilon false, or cannot be met.
  """
  clients = canary_data.with_canaries(config.privacy, task.images.train)
  if config.privacy.privacy != 'none' and task.images.preprocessing.measured:
    raise ValueError(f'preprocess=standardize does not go with privacy={config.privacy.privacy} and dataset='
                     f'{config.data.dataset}: mean and deviation would be computed from the clients\' own images and '
                     'told with the model, and no noise covers them; choose per_image, raw or invert.')
  if config.privacy.privacy != 'none' and (told := task.images.told_by_clients):
    raise ValueError(f'dataset={task.images.name} has classes that no test image shows ({", ".join(told[:12])}), so '
                     f'the model would tell that some client has them, which privacy={config.privacy.privacy} does not '
                     'cover: give each a test image, name all (class_names, where it is read), or leave these out.')
  plan = plan_lib.build_plan(
      config.privacy, config.cohort, population=len(clients), rounds=config.program.rounds, seed=config.program.seed,
      sizes=[clients.num_examples(client) for client in range(len(clients))], client=config.client,
      max_staleness=config.algorithm.max_staleness if config.algorithm.algorithm == 'fedbuff' else None,
      secret=secret, optional=len(clients) - len(task.images.train),
      cohort_size_bounds=secured.cohort_size_bounds(config.secure))
  model = task.keras_model()
  plan = plan.for_secure_sum(config.secure).for_model(model, task.batch_spec[0])
  return plan.for_loss(task.loss_fn, task.batch_spec[1], tf.TensorSpec(model.output_shape, model.outputs[0].dtype),
                       separable=task.loss_is_separable)


def _plan_run(config, task, *, journal, secret, directory):
  """Returns the task as its clients see it, the plan charged with the past, and the rounds that the budget pays for."""
  plan = run_audit.planned(config, task, build_plan(config, task, secret=secret), secret).charged(journal.past())
  journal.check_counts(plan.example_counts)
  program = _within_budget(config, plan)
  secured.check_run(config.secure, plan, rounds=program.rounds, run_dir=directory.path)
  return dataclasses.replace(task, client=plan.client_data(task.client)), plan, program


def fingerprint(images: images_lib.FederatedImages) -> budget_file.Data:
  """Returns what a budget over several runs knows the data by."""
  # Of images that have no digests nobody knows whose they were in another run.
  known = [images.fingerprint.get(part) for part in ('files', 'examples of clients')]
  sizes = [(name, images.train.num_examples(client)) for client, name in enumerate(images.train.client_ids)]
  return budget_file.fingerprint(images.name, images.class_names, sizes,
                                 examples=repr(known) if any(known) else secrets.token_hex(16))


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
