"""An experiment with its learning process built: what does one round after the other."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_federated as tff

from tff_vision import assembly
from tff_vision.aggregation import secured, traffic
from tff_vision.data import images as images_lib
from tff_vision.experiment import definition, planning
from tff_vision.learning import client_data, evaluation, learning_process
from tff_vision.program import loop


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
  """An experiment whose learning process is built, in an open runtime.

  Attributes:
    place: The open runtime.
    parts: The learning process, and what it is given for each client.
    evaluator: Carries the weights last evaluated.
    secure_sum: What is hidden, with which parameters, for the report.
    traffic: Bytes of one client in one round.
  """
  made: definition.Definition
  planned: planning.Planned
  place: Any
  parts: assembly.Parts
  evaluator: evaluation.Evaluator
  secure_sum: Mapping[str, Any]
  traffic: loop.Traffic

  @classmethod
  def prepare(cls, made: definition.Definition, planned: planning.Planned, place: Any,
              client_states: pathlib.Path) -> 'Training':
    """Builds the process.

    Args:
      place: The open runtime.
      client_states: Folder of what clients keep between rounds.

    Raises:
      ValueError: The parts do not fit.
    """
    config, task, plan = made.config, planned.task, planned.plan
    parts = assembly.assemble(config, task, plan, made.runtime, client_states, place)
    evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing,
                                     objective=task.objective)
    secure_sum = secured.describe(
        config.secure, plan, clients=config.cohort.cohort_size, parameters_count=parts.sent_length,
        on_workers=bool(made.runtime.workers), tells=learning_process.tells(task, config.algorithm), kept=parts.kept,
        rounds=config.program.rounds)
    down = traffic.bytes_down(evaluator.model, parts.shown)
    up = traffic.bytes_up(config, secure_sum, length=parts.sent_length)
    return cls(made=made, planned=planned, place=place, parts=parts, evaluator=evaluator, secure_sum=secure_sum,
               traffic=loop.Traffic(bytes_down=down, bytes_up=up))

  def begin(self) -> Any:
    """Returns the state of the process before round 1, with the task's first weights."""
    process = self.parts.process
    return process.set_model_weights(process.initialize(), self.planned.task.initial_weights())

  def next(self, state: Any, round_num: int, cohort: Sequence[int] | None = None
           ) -> tff.learning.templates.LearningProcessOutput:
    """Trains one round; nothing is journalled, so that of a private experiment nothing may be shown of it twice.

    Args:
      state: Of the process.
      round_num: From 1.
      cohort: Clients by position; None: those that the plan draws.
    """
    clients = list(cohort) if cohort is not None else self.planned.plan.cohort(round_num).tolist()
    with self.place.cohort(clients, population=len(self.planned.task.images.train)):
      return self.parts.process.next(state, [self.parts.data.request(client, round_num) for client in clients])

  def weights(self, state: Any) -> tff.learning.models.ModelWeights:
    """Returns the model in a state of the process."""
    return self.parts.process.get_model_weights(state)

  def with_images(self, images: images_lib.FederatedImages) -> 'Training':
    """Returns the same process over the clients of other images of the same kind, which are sent to it."""
    task = dataclasses.replace(self.planned.task, images=images)
    return dataclasses.replace(self, planned=dataclasses.replace(self.planned, task=task),
                               parts=dataclasses.replace(self.parts, data=client_data.SentData(task=task)))
