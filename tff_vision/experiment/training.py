"""An experiment with its learning process built: what does one round after the other."""

import dataclasses
import functools
import os
import pathlib
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_vision import assembly, protocols, tasks
from tff_vision.aggregation import secured, traffic
from tff_vision.audit import run_audit
from tff_vision.client_state import store
from tff_vision.data import attacked
from tff_vision.data import images as images_lib
from tff_vision.experiment import definition, planning, sharing, trainer
from tff_vision.learning import contribution as contribution_lib
from tff_vision.learning import evaluation, learning_process
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import round_record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(trainer.Trainer):
  """An experiment whose learning process is built, in an open runtime.

  Attributes:
    place: The open runtime.
    parts: The learning process, and its input for each client.
    evaluator: The evaluator; its model holds the weights that were evaluated last.
    secure_sum: What the secure sum hides, with its parameters, for the report.
    joined: The task with the canaries of an audit among its clients; without an audit, the task.
    audit: The audit of the run by its canaries; None: there are no canaries.
    traffic: The bytes that one client receives and sends in one round.
  """
  made: definition.Definition
  planned: planning.Planned
  place: Any
  parts: assembly.Parts
  evaluator: evaluation.Evaluator
  secure_sum: Mapping[str, Any]
  traffic: round_record.Traffic
  joined: tasks.Task
  audit: run_audit.RunAudit | None = None

  @classmethod
  def prepare(cls, made: definition.Definition, planned: planning.Planned, place: Any,
              client_states: pathlib.Path, *, audit: run_audit.RunAudit | None = None) -> 'Training':
    """Builds the process.

    Args:
      place: The open runtime.
      client_states: The folder for the state that clients keep between rounds.
      audit: The audit whose canaries take part; None: there are no canaries.

    Raises:
      ValueError: The parts do not fit together.
    """
    joined = planned.task if audit is None else audit.joined(planned.task)
    parts = assembly.assemble(made.config, joined, planned.plan, made.runtime, client_states, place,
                              None if audit is None else audit.among)
    evaluator = evaluation.Evaluator(planned.task.keras_model(), preprocessing=planned.task.images.preprocessing,
                                     objective=planned.task.objective, devices=() if place is None else place.devices)
    return dataclasses.replace(cls.around(parts, evaluator, made=made, planned=planned, place=place, joined=joined),
                               audit=audit)

  @classmethod
  def around(cls, parts: assembly.Parts, evaluator: evaluation.Evaluator, *, made: definition.Definition,
             planned: planning.Planned, place: Any, joined: tasks.Task | None = None) -> 'Training':
    """Returns the training for parts that are already built; `joined`: the attribute, or None without an audit.

    Raises:
      ValueError: The algorithm sends more numbers than the privacy plan allows.
    """
    # Only the process knows what the algorithm sends beside the model.
    plan = planned.plan.for_length(parts.process.sent_length)
    config, task, planned = made.config, planned.task if joined is None else joined, dataclasses.replace(
        planned, plan=plan)
    secure_sum = secured.describe(
        config.secure, plan, clients=config.cohort.cohort_size, parameters_count=parts.process.sent_length,
        on_workers=bool(made.runtime.workers), tells=learning_process.tells(task, config.algorithm), kept=parts.kept,
        rounds=config.program.rounds, plays=() if place is None else place.plays)
    down = traffic.bytes_down(evaluator.model, parts.shown)
    up = traffic.bytes_up(config, secure_sum, length=parts.process.sent_length)
    return cls(made=made, planned=planned, place=place, parts=parts, evaluator=evaluator, secure_sum=secure_sum,
               traffic=round_record.Traffic(bytes_down=down, bytes_up=up), joined=task)

  @property
  def process(self) -> protocols.Process:
    return self.parts.process

  @property
  def data(self) -> protocols.ClientData:
    return self.parts.data

  @property
  def plan(self) -> plan_lib.PrivacyPlan:
    return self.planned.plan

  @property
  def population(self) -> int:
    return len(self.task.images.train)

  @property
  def task(self) -> tasks.Task:
    """Images and model, as the clients see them."""
    return self.planned.task

  @property
  def rounds(self) -> int:
    """The number of rounds of the experiment, or fewer if its budget allows only fewer."""
    return self.planned.program.rounds

  @functools.cached_property
  def contribution(self) -> contribution_lib.Contribution | None:
    """Says what each client of a round contributed; None if the experiment does not ask for it.

    Raises:
      ValueError: The task has no such metric, or there are no test examples.
    """
    config = self.made.config
    if config.aggregation.contribution == 'none':
      return None
    return contribution_lib.Contribution(
        config.aggregation, server_rate=config.server.server_learning_rate, evaluator=self.evaluator,
        objective=self.task.objective, test=self.task.images.test, seed=config.program.seed)

  @property
  def states(self) -> store.Store | None:
    """The states that clients keep between rounds; None: they keep nothing."""
    return self.parts.states

  def first_weights(self) -> tff.learning.models.ModelWeights:
    """Returns the model of round 0, a function of the seed."""
    return self.task.initial_weights()

  def evaluate(self, state: Any) -> dict[str, Any]:
    """Returns the test-set metrics of a state's model: `evaluation` and `per_client`, as in report.json."""
    weights = self.weights(state)
    if self.parts.own_models is not None:
      weights = self.parts.own_models.joint_model(weights)
    weights.assign_weights_to(self.evaluator.model)
    return self.evaluator.evaluate(self.task.images.test)

  def with_data(self, data: Any) -> 'Training':
    """Returns the same process with the caller's data; `data.request(client, round_num)` is the process's input.

    Raises:
      ValueError: The ledger counts on the numbers of the clients' examples, which nobody knows of such data.
    """
    if self.made.config.privacy.of_examples:
      raise ValueError(f'with_data does not go with privacy={self.made.config.privacy.privacy}: what it costs follows '
                       'from the numbers of the clients\' examples, which nobody knows of such data; prepare an '
                       'experiment on images.')
    return dataclasses.replace(self, parts=assembly.fed(self.parts, data))

  def with_images(self, images: images_lib.FederatedImages) -> 'Training':
    """Returns the same process with the clients of other images of the same kind; the driver sends these images.

    They are other clients: what clients keep begins anew. If they are fewer than a cohort has, all of them are one.

    Raises:
      ValueError: They are of another kind; noise, cohorts, hidden sums or the server count on the numbers of examples
        of the clients, or on that of the clients, which are others; or they tell what no promise covers.
    """
    sharing.check_kind(images, self.task.images, 'with_images')
    sharing.check_counts(images, self.task.images, 'with_images', self.parts)
    planning.check_clients(images)
    planning.check_told(self.made.config, images)
    if self.made.config.promises and not np.array_equal(images.train.sizes, self.task.images.train.sizes):
      raise ValueError('with_images: what is promised counts on the numbers of the clients\' examples, which are '
                       'others in these images; prepare an experiment on them.')
    config = self.made.config
    task = dataclasses.replace(self.task, images=attacked.attacked(config.attack, images, seed=config.program.seed))
    plan, folder = self.plan, None
    if len(images.train) != self.population:  # Nothing is promised, or the numbers of examples would differ.
      size = min(config.cohort.cohort_size, len(images.train))
      plan = planning.build_plan(dataclasses.replace(
          config, cohort=dataclasses.replace(config.cohort, cohort_size=size)), task)
    if self.states is not None:
      folder = pathlib.Path(tempfile.mkdtemp())
    parts = assembly.of_other_clients(self.parts, config, task, plan, folder)
    found = dataclasses.replace(self, planned=dataclasses.replace(self.planned, task=task, plan=plan), parts=parts)
    if folder is not None:
      weakref.finalize(found.states, shutil.rmtree, folder, ignore_errors=True)
    return found


def prepare(made: definition.Definition, place: Any, *, client_states: str | os.PathLike[str] | None,
            secret: bytes | None, like: Training | None) -> Training:
  """Returns the training of an experiment; see `Experiment.prepare`.

  Raises:
    ValueError: The parts do not fit, or the process of `like` was built for something else.
  """
  planning.check(made)
  if number := made.config.privacy.audit_canaries:
    raise ValueError(f'audit_canaries={number} is for a run in a folder, whose secret decides which canaries take '
                     'part; call run or iterate, or set 0.')
  if made.budget.budget_file is not None:
    raise ValueError(f'budget_file={made.budget.budget_file} is charged for a run in a folder, whose journal says what '
                     'it cost; call run or iterate, or leave budget out.')
  problem = made.problem if place is None else assembly.counted(made.problem, made.runtime, place)
  planned = planning.plan(made, problem, secret=secret)
  folder = pathlib.Path(tempfile.mkdtemp() if client_states is None else client_states)
  if like is None:
    found = Training.prepare(made, planned, place, folder)
  else:
    sharing.check(made, planned, built=like.made, built_for=like.planned, parts=like.parts)
    parts = assembly.shared(like.parts, made.config, planned.task, planned.plan, made.runtime, folder)
    found = Training.around(parts, like.evaluator, made=made, planned=planned, place=place)
  if client_states is None:
    # The folder is deleted with the last training that reads it: a training derived from this one shares the states.
    weakref.finalize(found.states or found, shutil.rmtree, folder, ignore_errors=True)
  return found
