"""The only training loop: rounds over a TFF learning process, with every effect behind a `tff.program` manager.

Durable first, visible second: a round's checkpoint, which holds its metrics too, is on disk before the metrics
are released, and a resumed run releases again what its checkpoint holds. So no metric is lost, and none is
published of a round that would be repeated with other noise.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow_federated as tff
import tree

from tff_vision import configs, tasks
from tff_vision.learning import evaluation
from tff_vision.learning import personal as personal_lib
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import checkpoints as checkpoints_lib
from tff_vision.program import journal as journal_lib
from tff_vision.program import released, repetition, run_directory, timeless_events

RoundRecord = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Managers:
  """Where state and metrics go."""
  checkpoints: tff.program.ProgramStateManager
  releases: Sequence[tff.program.ReleaseManager]

  @classmethod
  def in_directory(cls, directory: run_directory.RunDirectory, *, wiped: bool = False, timeless: bool = False
                   ) -> 'Managers':
    """Returns those of a run that is written to a folder, which is open.

    Args:
      wiped: Whether outlived checkpoints are overwritten.
      timeless: Whether TensorBoard is not told when.
    """
    events = timeless_events.TimelessEvents(directory.logdir) if timeless else tff.program.TensorBoardReleaseManager(
        str(directory.logdir))
    return cls(checkpoints=checkpoints_lib.Checkpoints(directory.checkpoints, wiped=wiped),
               releases=(tff.program.CSVFileReleaseManager(str(directory.metrics), key_fieldname='round_num'), events))


class ClientData(Protocol):
  """What a learning process is given for each client."""

  def present(self, cohort: Sequence[int]) -> Sequence[int]:
    """Returns the clients of `cohort` that have data."""

  def request(self, client: int, round_num: int) -> Any:
    """Returns what `process.next` takes for `client` in round `round_num`."""


class Runtime(Protocol):
  """What the loop must tell the place where clients compute, and ask of it."""

  WorkerLost: type[Exception]

  def cohort(self, clients: Sequence[int], population: int, again: Callable[[Sequence[int]], None] | None = None
             ) -> contextlib.AbstractContextManager[None]:
    """Says which clients the data of the calls inside belong to.

    Args:
      again: Called with clients who may have computed, before they do it again; None: nobody needs to know.
    """

  def take_faults(self) -> Sequence[Any]:
    """Returns what has gone wrong since the last call: objects with worker, reason and clients dropped out."""


class Observer(Protocol):
  """Who watches what a run releases, see `audit.run_audit.RunAudit`."""

  def released(self, round_num: int, before: Any, output: Any, after: Any, cohort: Sequence[int]) -> None:
    """Learns of a round's model, before a checkpoint holds it.

    Args:
      before: The weights that the round began with.
      output: What the learning process returned.
      after: The weights that it ended with.
      cohort: The clients whose updates are in it.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
  """Bytes of one client in one round: what it receives and what it sends."""
  bytes_down: int
  bytes_up: int

  def of_round(self, *, started: int, delivered: int) -> Mapping[str, int]:
    """Returns the bytes of all clients of a round."""
    return {'bytes_down': self.bytes_down * started, 'bytes_up': self.bytes_up * delivered}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """How a loop ended.

  Attributes:
    weights: The model after the last round.
    history: One record a round, as the checkpoints hold it: `released.record` says what of it may be told.
    interrupted: Whether rounds are left because a stop was requested.
    evaluated: The evaluation of `weights`, if its round had one in this process.
    personal: That of the clients' own models, if they have some.
  """
  weights: tff.learning.models.ModelWeights
  history: Sequence[RoundRecord]
  interrupted: bool
  evaluated: Mapping[str, Any] | None
  personal: Mapping[str, Any] | None


async def run(process: tff.learning.templates.LearningProcess, *, task: tasks.Task, plan: plan_lib.PrivacyPlan,
              runtime: Runtime, client_data: ClientData, traffic: Traffic,
              evaluator: evaluation.Evaluator, program: configs.ProgramConfig, managers: Managers,
              journal: journal_lib.Journal, stop_at_epsilon: float | None = None,
              charged: repetition.Charged = repetition.Uncharged(),  # noqa: B008  Holds nothing.
              evaluate_personal: Callable[[Any, int], Mapping[str, Any]] | None,
              on_round: Callable[[RoundRecord], None], stop_requested: Callable[[], bool],
              observer: Observer | None = None) -> Outcome:
  """Trains for `program.rounds` rounds, from the latest checkpoint if there is one.

  Args:
    journal: Of this run; knows the rounds that an earlier process began and did not finish.
    stop_at_epsilon: Where lost clients, what they released twice, or a repetition make a round cost more than was
      planned, later rounds that no longer fit are left out; a call that may not be made again ends the run before its
      round. None: there is no budget.
    charged: Learns of what costs more than was planned before it is released, so that a run that is killed then has
      paid; where it does not fit, the run ends as with `stop_at_epsilon`.
    evaluate_personal: From a state and its round to `learning.personal.compare`'s numbers, where clients have models
      of their own.
    on_round: Called after each round's release, with what was released.
    stop_requested: Asked after each round; True ends the loop with everything saved.
    observer: Of an audit.

  Raises:
    ValueError: The journal has finished rounds, and no checkpoint is left, or what is left is of another version.
  """
  state, history = await _resume(process, task, plan, managers)
  if not history and (finished := journal.past().delivered):
    raise ValueError(f'resume is refused: {max(finished)} rounds are finished, and no checkpoint of them is left; to '
                     'train them again would release them a second time. Start a new run.')
  if journal.resume(len(history)):
    # The rounds ahead were released once, and a reader knows that output: they get noise that owes nothing to it.
    state = plan.with_fresh_noise(state)
  evaluated = personal = None
  interrupted = False
  for round_num in range(len(history) + 1, program.rounds + 1):
    started = time.monotonic()
    if repeated := journal.once_more(round_num):
      once_more = plan.charged(repeated)
      if stop_at_epsilon is not None and once_more.ledger(round_num).get('epsilon', 0.0) > stop_at_epsilon:
        break
      try:
        charged.raise_to(once_more.spent(program.rounds))
      except ValueError:
        break
    cohort = plan.cohort(round_num)
    present = _present(cohort, client_data, runtime, task)
    journal.begin(round_num)
    again = repetition.announced(plan, journal, round_num, len(present), stop_at_epsilon, charged, program.rounds)
    try:
      with runtime.cohort(present, population=len(task.images.train), again=again):
        output = process.next(state, [client_data.request(client, round_num) for client in present])
    except repetition.OverBudgetError:
      if not history:
        raise
      break
    faults = runtime.take_faults()
    trained = sorted(set(present) - {client for fault in faults for client in fault.clients})
    if observer is not None:
      observer.released(round_num, process.get_model_weights(state), output, process.get_model_weights(output.state),
                        trained)
    state = output.state
    record = {'round': round_num, **_training_record(output.metrics, plan, trained, task, time.monotonic() - started)}
    past = journal.after(round_num, len(trained))
    plan = plan.charged(past)
    if repeated or len(trained) < len(cohort) or round_num in dict(past.again):
      if stop_at_epsilon is not None:
        affordable = plan.affordable_rounds(program.rounds, stop_at_epsilon)
        program = dataclasses.replace(program, rounds=max(round_num, affordable))
      charged.add(plan.spent(program.rounds))
    if (epsilon := plan.quick_epsilon(round_num)) is not None:
      record['privacy'] = {'epsilon_rdp': epsilon}
    if noised := plan.released_metrics(output.metrics, round_num):
      record['noised'] = dict(noised)
    attendance = plan.attendance(round_num)
    if attendance:
      record['attendance'] = dict(attendance)
    if plan.releases_exact_metrics:
      record['traffic'] = dict(traffic.of_round(started=attendance.get('started', len(present)),
                                                delivered=len(trained)))
    if faults or len(trained) < len(cohort):
      record |= {'dropped_clients': len(cohort) - len(trained),
                 'faults': [dataclasses.asdict(fault) for fault in faults]}
    evaluated = personal = None
    if round_num % program.rounds_per_evaluation == 0 or round_num == program.rounds:
      started = time.monotonic()
      before = _trainable(evaluator)
      process.get_model_weights(state).assign_weights_to(evaluator.model)
      if before and all(map(np.array_equal, before, _trainable(evaluator))):
        record['unmoved'] = 'since the evaluation before'
      evaluated = evaluator.evaluate(task.images.test)
      record |= {'evaluation': evaluated['evaluation'], 'per_client': _scalars(evaluated['per_client']),
                 'privacy': _scalars(plan.ledger(round_num))}
      if evaluate_personal is not None:
        personal = evaluate_personal(state, round_num)
        record['personal'] = personal_lib.scalars(personal)
      record['evaluation_seconds'] = time.monotonic() - started
    history = [*history, record]
    await managers.checkpoints.save(_checkpoint(state, history), round_num)
    journal.end(round_num, len(trained))
    told = released.record(record, plan)
    await release(managers, told)
    on_round(told)
    if round_num == program.rounds:
      break
    if stop_requested():
      interrupted = True
      break
  if personal is None and evaluate_personal is not None and not interrupted:
    personal = evaluate_personal(state, len(history))
  return Outcome(weights=process.get_model_weights(state), history=history, interrupted=interrupted,
                 evaluated=evaluated, personal=personal)


def _trainable(evaluator):
  """Returns the weights of what was evaluated last."""
  return [weight.numpy() for weight in getattr(evaluator.model, 'trainable_weights', ())]


def _present(cohort, client_data, runtime, task):
  """Returns the clients of the cohort with data; those of a worker that is gone drop out when they are trained."""
  try:
    with runtime.cohort(cohort, population=len(task.images.train)):
      return client_data.present(cohort)
  except runtime.WorkerLost:
    return cohort


async def _resume(process, task, plan, managers):
  state = process.set_model_weights(process.initialize(), task.initial_weights())
  saved, _ = await managers.checkpoints.load_latest(_checkpoint(state, []))
  if saved is None:
    return state, []
  if _kinds(saved['state']) != _kinds(state):
    raise ValueError('resume is refused: the checkpoint holds other numbers than this version keeps (noise was float32 '
                     'once, too coarse for the privacy that it stood for); start a new run.')
  history = json.loads(saved['history'].decode())
  await release(managers, released.record(history[-1], plan))
  return saved['state'], history


def _kinds(state):
  """Returns the types of a state's numbers."""
  return [np.asarray(leaf).dtype for leaf in tree.flatten(state)]


def _checkpoint(state, history):
  return {'state': state, 'history': json.dumps(history).encode()}


async def release(managers: Managers, record: RoundRecord) -> None:
  """Makes the numbers of a round visible."""
  for manager in managers.releases:
    await manager.release(_nested_numbers(record), record['round'])


def _training_record(metrics, plan, cohort, task, seconds):
  if not plan.releases_exact_metrics:
    return {'seconds': seconds}
  names = ('loss', task.objective.metric) if len(cohort) else ()
  trained = metrics['client_work']['train']
  examples = sum(task.images.train.num_examples(client) for client in cohort) * task.client.client_epochs
  return {'seconds': seconds, 'cohort_size': len(cohort), 'examples': examples,
          'train': {name: float(trained[name]) for name in names if name in trained}}


def _scalars(values):
  return {name: value for name, value in values.items() if not isinstance(value, (list, tuple, dict))}


def _nested_numbers(record):
  """Returns the numbers of a record, nested; words and missing values are for the report."""
  kept = {}
  for name, value in record.items():
    if isinstance(value, dict):
      kept[name] = _nested_numbers(value)
    elif isinstance(value, (int, float)):
      kept[name] = value
  return kept
