"""The training loop: rounds of a TFF learning process; all effects go through `tff.program` managers.

The checkpoint of a round also holds its metrics, and it is on disk before the metrics are released. A resumed run
releases the metrics in its checkpoint again. So no metric is lost, and no metrics are published of a round that would
be repeated with other noise.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tree

from tff_vision import protocols
from tff_vision.accounting import evaluated_rounds
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.data import pieces
from tff_vision.learning import personal as personal_lib
from tff_vision.program import loop_parts, released, repetition, round_record
from tff_vision.program import managers as managers_lib

RoundRecord = loop_parts.RoundRecord
Outcome = loop_parts.Outcome
Observer = loop_parts.Observer
Training = loop_parts.Training
Books = loop_parts.Books


async def run(training: Training, books: Books) -> Outcome:
  """Trains for `training.program.rounds` rounds, from the latest checkpoint if there is one.

  Raises:
    ValueError: The journal has finished rounds, but there is no checkpoint, or it is of another version; or the best
      model is to be kept and no client has validation examples.
  """
  rounds, interrupted = _Rounds(training, books), False
  await rounds.resume()
  while not interrupted and rounds.next_round <= rounds.last_round:
    if books.stop_after is not None and rounds.next_round > books.stop_after:
      interrupted = True
      break
    started = time.monotonic()
    if not rounds.pay_for_repetition():
      break
    try:
      trained, seconds = rounds.train(), time.monotonic() - started
    except repetition.OverBudgetError:
      if not rounds.history:
        raise
      break
    rounds.charge(trained)
    record = round_record.of_training(trained, rounds.plan, training.task, training.traffic, seconds)
    record |= {**rounds.contribution(trained), **rounds.evaluate(trained.round_num), 'elapsed': rounds.elapsed()}
    await rounds.publish(trained, record)
    interrupted = trained.round_num < rounds.last_round and books.stop_requested()
  return rounds.outcome(interrupted)


class _Rounds:
  """The state of a run between two rounds.

  Attributes:
    plan: The privacy plan, charged with what has happened so far.
    history: One record for each round.
    last_round: The last round of the run; a budget may make it earlier.
  """

  def __init__(self, training: Training, books: Books):
    self._training = training
    self._books = books
    self._state: protocols.State = None
    self._before: protocols.Weights = None  # Of the round before, until it is known who contributed.
    self._joint: protocols.Weights = None  # The model for clients that never trained, if the last round was evaluated.
    self.plan = training.plan
    self.history: list[RoundRecord] = []
    self.last_round = training.program.rounds
    self._began, self._earlier = time.monotonic(), 0.0
    self._evaluated: Mapping[str, Any] | None = None
    self._ledger: ledger_lib.Statement = ledger_lib.NoGuarantee()
    self._personal: Mapping[str, Any] | None = None
    self._best: protocols.Weights = None

  @property
  def next_round(self) -> int:
    return len(self.history) + 1

  async def resume(self) -> None:
    """Begins with the initial model, or continues from the latest checkpoint and releases its metrics again.

    Raises:
      ValueError: As in `run`.
    """
    process, journal = self._training.process, self._books.journal
    self._state = process.set_model_weights(process.initialize(), self._training.task.initial_weights())
    if self._training.selection is not None:
      self._best = process.get_model_weights(self._state)
    saved, _ = await self._books.managers.checkpoints.load_latest(self._checkpoint())
    if saved is not None:
      if _kinds(saved['state']) != _kinds(self._state):
        raise ValueError('resume is refused: the checkpoint holds other numbers than this version keeps (noise was '
                         'float32 once, too coarse for the privacy that it stood for); start a new run.')
      self._state, self.history = saved['state'], json.loads(saved['history'].decode())
      self._best = saved.get('best')
      self._end_early()
      self._earlier = round_record.elapsed(self.history)
      await managers_lib.release(self._books.managers, released.record(self.history[-1], self.plan))
    elif finished := journal.past().delivered:
      raise ValueError(f'resume is refused: {max(finished)} rounds are finished, and no checkpoint of them is left; to '
                       'train them again would release them a second time. Start a new run.')
    else:
      self._require_validation_examples()
    if journal.resume(len(self.history)):
      # Outputs of the next rounds were already released once. Their new noise must be independent of those outputs.
      self._state = self.plan.with_fresh_noise(self._state)

  def elapsed(self) -> float:
    """Returns the seconds that all processes of the run have spent on rounds; set-up is not counted."""
    return self._earlier + time.monotonic() - self._began

  def pay_for_repetition(self) -> bool:
    """Charges the next round if its output was already seen once; returns whether the budget pays for it."""
    if not (repeated := self._books.journal.once_more(self.next_round)):
      return True
    once_more, budget = self.plan.charged(repeated), self._books.stop_at_epsilon
    if budget is not None and once_more.ledger(self.next_round).epsilon > budget:
      return False
    try:
      self._books.charged.raise_to(once_more.spent(self.last_round))
    except ValueError:
      return False
    return True

  def train(self) -> round_record.Trained:
    """Runs the next round.

    Raises:
      OverBudgetError: Clients would have to release something a second time, which the budget does not pay for.
    """
    training, books, round_num = self._training, self._books, self.next_round
    cohort = self.plan.cohort(round_num)
    present = self._present(cohort)
    repeats = books.journal.once_more(round_num) is not None
    books.journal.begin(round_num)
    again = repetition.announced(self.plan, books.journal, round_num, len(present), books.stop_at_epsilon,
                                 books.charged, self.last_round)
    self._joint = None
    watched = training.observer is not None or training.contribution is not None
    before = training.process.get_model_weights(self._state) if watched else None
    with training.place.cohort(present, population=len(training.task.images.train), again=again):
      output = training.process.next(
          self._state, pieces.Made(functools.partial(training.client_data.request, round_num=round_num), present))
    faults = training.place.take_faults()
    clients = sorted(set(present) - {client for fault in faults for client in fault.clients})
    if training.observer is not None:
      training.observer.released(round_num, before, output, training.process.get_model_weights(output.state), clients)
    # No other reference to the state before: from here on there is one model, not two.
    self._state, self._before = output.state, before if training.contribution is not None else None
    return round_record.Trained(
        round_num=round_num, cohort=cohort, present=present, clients=clients, faults=faults,
        metrics=output.metrics, repeats=repeats, again=round_num in dict(books.journal.past().again))

  def charge(self, trained: round_record.Trained) -> None:
    """Charges the cost of the round; if it is above the plan, leaves out later rounds that no longer fit."""
    self.plan = self.plan.charged(self._books.journal.after(trained.round_num, len(trained.clients)))
    if not (trained.repeats or trained.again or len(trained.clients) < len(trained.cohort)):
      return
    if self._books.stop_at_epsilon is not None:
      affordable = self.plan.affordable_rounds(self.last_round, self._books.stop_at_epsilon)
      self.last_round = max(trained.round_num, affordable)
    self._books.charged.add(self.plan.spent(self.last_round))

  def contribution(self, trained: round_record.Trained) -> dict[str, Any]:
    """Returns the part of the record that says what each client of the round contributed; empty if nothing does."""
    before, self._before = self._before, None
    if self._training.contribution is None or not trained.clients:
      return {}
    after = self._training.process.get_model_weights(self._state)
    there = [client for client in trained.present if client in trained.clients]  # In the order of their updates.
    return {'contribution': self._training.contribution.of_round(
        trained.round_num, before, trained.metrics, after, there)}

  def evaluate(self, round_num: int) -> dict[str, Any]:
    """Returns the evaluation part of the record; empty if the round is not evaluated."""
    self._evaluated = self._personal = None
    if not evaluated_rounds.is_evaluated(round_num, self._training.program.rounds_per_evaluation, self.last_round):
      return {}
    started, evaluator = time.monotonic(), self._training.evaluator
    record: dict[str, Any] = {}
    before, weights = _trainable(evaluator), self._training.process.get_model_weights(self._state)
    if (own_models := self._training.own_models) is not None:
      weights, self._personal = own_models.evaluate(evaluator, self._state, round_num)
      self._joint = weights
    weights.assign_weights_to(evaluator.model)
    if before and all(map(np.array_equal, before, _trainable(evaluator))):
      record['unmoved'] = 'since the evaluation before'
    self._evaluated = evaluator.evaluate(self._training.task.images.test)
    self._ledger = self.plan.ledger(round_num)
    record |= {'evaluation': self._evaluated['evaluation'],
               'per_client': round_record.scalars(self._evaluated['per_client']),
               'privacy': round_record.scalars(self._ledger.to_json(curve=False))}
    if self._training.validate is not None:
      found = self._training.validate(self._training.process.get_model_weights(self._state), round_num)
      record['validation'] = {**found['evaluation'], **round_record.scalars(found)}
      if faults := self._training.place.take_faults():
        record['evaluation_faults'] = [dataclasses.asdict(fault) for fault in faults]
    if self._personal is not None:
      record['personal'] = personal_lib.scalars(self._personal)
    return {**record, 'evaluation_seconds': time.monotonic() - started}

  async def publish(self, trained: round_record.Trained, record: RoundRecord) -> None:
    """Ends the round: saves it on disk first, then releases its metrics."""
    self.history = [*self.history, record]
    selection = self._training.selection
    if selection is not None and selection.best(self.history) == trained.round_num:
      self._best = self._training.process.get_model_weights(self._state)
    await self._books.managers.checkpoints.save(self._checkpoint(), trained.round_num)
    self._end_early()
    self._books.journal.end(trained.round_num, len(trained.clients))
    told = released.record(record, self.plan)
    await managers_lib.release(self._books.managers, told)
    self._books.on_round(told)
    if self._evaluated is not None:
      self._books.on_evaluated(round_record.Standing(
          history=[released.record(entry, self.plan) for entry in self.history], evaluated=self._evaluated,
          ledger=self._ledger, last_round=self.last_round))

  def outcome(self, interrupted: bool) -> Outcome:
    """Returns the outcome of the run, including the evaluation of the clients' own models."""
    own_models, personal, evaluated = self._training.own_models, self._personal, self._evaluated
    weights = self._training.process.get_model_weights(self._state) if self._joint is None else self._joint
    if personal is None and own_models is not None and not interrupted:
      weights, personal = own_models.evaluate(self._training.evaluator, self._state, len(self.history))
    best = None if self._training.selection is None else self._training.selection.best(self.history)
    if best is not None and best != len(self.history):
      weights, evaluated = self._best, None
    return Outcome(weights=weights, history=self.history, interrupted=interrupted, evaluated=evaluated,
                   personal=personal, best_round=best, earlier_seconds=self._earlier)

  def _require_validation_examples(self):
    chosen, validate = self._training.selection, self._training.validate
    if chosen is None or validate is None or validate.noised is not None:  # Looking at noised numbers would cost.
      return
    found, name = validate(self._best, 0), chosen.metric.name
    if not found['examples']:
      raise ValueError(f'select_best={name} needs validation examples, and no client has any.')
    if found['evaluation'].get(name) is None:
      raise ValueError(f'select_best={name} cannot be measured on the {found["examples"]} validation examples of the '
                       'clients, as AUC on examples of one class: keep more of them (client_validation_fraction), or '
                       'choose another metric.')

  def _end_early(self):
    if self._training.selection is not None and self._training.selection.is_over(self.history):
      self.last_round = len(self.history)

  def _checkpoint(self):
    """Returns what a checkpoint holds; its structure does not change during a run."""
    return {'state': self._state, 'history': json.dumps(self.history).encode(),
            **({} if self._training.selection is None else {'best': self._best})}

  def _present(self, cohort):
    """Returns the clients of the cohort that have data. Clients of a lost worker drop out later, in training."""
    place, population = self._training.place, len(self._training.task.images.train)
    try:
      with place.cohort(cohort, population=population):
        return self._training.client_data.present(cohort)
    except place.WorkerLost:
      return cohort


def _trainable(evaluator):
  """Returns the trainable weights of the model that was evaluated last."""
  return [weight.numpy() for weight in getattr(evaluator.model, 'trainable_weights', ())]


def _kinds(state):
  """Returns the dtypes of the arrays in a state."""
  return [np.asarray(leaf).dtype for leaf in tree.flatten(state)]
