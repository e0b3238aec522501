"""What is written down of a round: numbers of training, cost, devices and bytes; checkpoints hold it as it is."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tff_vision import tasks
from tff_vision.accounting import ledger
from tff_vision.privacy import plan as plan_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
  """The bytes that one client receives and sends in one round."""
  bytes_down: int
  bytes_up: int

  def of_round(self, *, started: int, delivered: int) -> Mapping[str, int]:
    """Returns the bytes of all clients of a round."""
    return {'bytes_down': self.bytes_down * started, 'bytes_up': self.bytes_up * delivered}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
  """One round, after the server's step.

  Attributes:
    cohort: The clients that the plan selected.
    present: The clients of `cohort` that were asked to train.
    clients: The clients of `present` whose updates are in the sum.
    repeats: Whether the round was finished before, so that its output was seen.
    again: Whether clients may have computed a part of the round twice.
  """
  round_num: int
  cohort: Collection[int]
  present: Sequence[int]
  clients: Sequence[int]
  faults: Sequence[Any]
  metrics: Mapping[str, Any]
  repeats: bool
  again: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
  """What may be released of a run after a round that was evaluated.

  Attributes:
    history: The released record of each round so far.
    evaluated: The evaluation of the model on test images, as in report.json.
    ledger: The privacy cost so far.
    last_round: The last round of the run.
  """
  history: Sequence[Mapping[str, Any]]
  evaluated: Mapping[str, Any]
  ledger: ledger.Statement
  last_round: int


def of_training(trained: Trained, plan: plan_lib.PrivacyPlan, task: tasks.Task, traffic: Traffic, seconds: float
                ) -> dict[str, Any]:
  """Returns the record of a round without an evaluation; `released.record` selects what may be released.

  Args:
    plan: The privacy plan, charged with the round.
    seconds: The duration of the round.
  """
  attendance = plan.attendance(trained.round_num)
  record = {'round': trained.round_num, **_training_record(trained, plan, task, seconds)}
  if (epsilon := plan.quick_epsilon(trained.round_num)) is not None:
    record['privacy'] = {'epsilon_rdp': epsilon}
  if noised := plan.released_metrics(trained.metrics, trained.round_num):
    record['noised'] = dict(noised)
  if attendance:
    record['attendance'] = dict(attendance)
  if plan.releases_exact_metrics:
    record['traffic'] = dict(traffic.of_round(
        started=attendance.get('started', len(trained.present)), delivered=len(trained.clients)))
  if trained.faults or len(trained.clients) < len(trained.cohort):
    record |= {'dropped_clients': len(trained.cohort) - len(trained.clients),
               'faults': [dataclasses.asdict(fault) for fault in trained.faults]}
  return record


def elapsed(history: Sequence[Mapping[str, Any]]) -> float:
  """Returns the seconds that all processes had spent on rounds when the last of these was recorded.

  Checkpoints of earlier versions do not tell it; for these it is the time of training and evaluation.
  """
  if not history:
    return 0.0
  return history[-1].get('elapsed', sum(
      record.get('seconds', 0.0) + record.get('evaluation_seconds', 0.0) for record in history))


def scalars(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the entries of a mapping whose values are single values, not lists, tuples or dicts."""
  return {name: value for name, value in values.items() if not isinstance(value, (list, tuple, dict))}


def _training_record(trained, plan, task, seconds):
  if not plan.releases_exact_metrics:
    return {'seconds': seconds}
  names = ('loss', task.objective.metric, 'skipped_steps') if trained.clients else ()
  numbers = trained.metrics['client_work']['train']
  if task.images.train.counted:
    examples = sum(task.images.train.num_examples(client) for client in trained.clients) * task.client.client_epochs
  else:  # The sum over the clients, which they hid together.
    examples = int(numbers['num_examples'])
  return {'seconds': seconds, 'cohort_size': len(trained.clients), 'examples': examples,
          'train': {name: float(numbers[name]) for name in names if name in numbers}}
