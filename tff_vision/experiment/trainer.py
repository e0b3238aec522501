"""Rounds one call at a time, for programs that choose cohorts, data or the end themselves, and need no run folder."""

import abc
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_federated as tff

from tff_vision import protocols
from tff_vision.privacy import plan as plan_lib


class Trainer(abc.ABC):
  """A training whose learning process is built; it has no state of its own, and several may share the process.

  Attributes:
    process: What runs the rounds.
    data: What `process.next` is given for each client, `request(client, round_num)`.
    plan: Who takes part, what is clipped and noised, and what that costs.
    population: Number of clients.
    secure_sum: What is hidden, with which parameters and sizes, as in report.json.
    place: The open runtime; None: TFF's own default context.
  """
  secure_sum: Mapping[str, Any]
  place: Any

  @property
  @abc.abstractmethod
  def process(self) -> protocols.Process: ...

  @property
  @abc.abstractmethod
  def data(self) -> protocols.ClientData: ...

  @property
  @abc.abstractmethod
  def plan(self) -> plan_lib.PrivacyPlan: ...

  @property
  @abc.abstractmethod
  def population(self) -> int: ...

  @abc.abstractmethod
  def first_weights(self) -> tff.learning.models.ModelWeights:
    """Returns the model of round 0."""

  def begin(self) -> Any:
    """Returns the state before round 1."""
    return self.process.set_model_weights(self.process.initialize(), self.first_weights())

  def next(self, state: Any, round_num: int, cohort: Sequence[int] | None = None) -> Any:
    """Returns the output of one round: its `state`, and its `metrics` as TFF has them.

    Nothing is journalled: of a private experiment, whose plan draws the accounted cohorts, nothing may be shown twice,
    and `metrics` are for nobody else.

    Args:
      state: Of `begin` or of the round before; it stays good.
      round_num: From 1.
      cohort: Clients by position; None: those that the plan draws.
    """
    chosen: Any = self.plan.cohort(round_num) if cohort is None else cohort
    clients = [int(client) for client in chosen]
    with self._among(clients):
      return self.process.next(state, [self.data.request(client, round_num) for client in clients])

  def weights(self, state: Any) -> tff.learning.models.ModelWeights:
    """Returns the model of a state."""
    return self.process.get_model_weights(state)

  def _among(self, clients):
    if self.place is None:
      return contextlib.nullcontext()
    return self.place.cohort(clients, population=self.population)
