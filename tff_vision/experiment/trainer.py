"""Rounds one call at a time, for programs that choose cohorts, data or the end themselves, and need no run folder."""

import abc
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_vision import protocols
from tff_vision.configs import validate
from tff_vision.data import pieces
from tff_vision.privacy import plan as plan_lib


class Trainer(abc.ABC):
  """A training whose learning process is built; it has no state of its own, and several may share the process.

  Attributes:
    process: The learning process, which runs the rounds.
    data: The input of `process.next` for each client, from `request(client, round_num)`.
    plan: Who takes part, what is clipped and noised, and the privacy cost.
    population: The number of clients.
    secure_sum: What the secure sum hides, with its parameters and sizes, as in report.json.
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
    """Returns the output of one round: its `state`, and its `metrics` in TFF's format.

    No journal is written. In a private experiment the plan draws the cohorts that the accounting covers; nothing of a
    round may then be published twice, and `metrics` must not be shown to anybody else.

    Args:
      state: From `begin` or from the previous round; it stays valid.
      round_num: The number of the round, from 1.
      cohort: The positions of the clients; None: the cohort that the plan draws.

    Raises:
      ValueError: The round has no number, or the cohort holds a client twice, or one that there is not.
    """
    validate.whole(round_num=round_num)
    validate.positive(round_num=round_num)
    if cohort is not None:
      self._check(cohort)
    chosen: Any = self.plan.cohort(round_num) if cohort is None else cohort
    clients = [int(client) for client in chosen]
    requests = pieces.Made(lambda client: self.data.request(client, round_num), clients)
    with self._among(clients):
      return self.process.next(state, list(requests) if self.place is None else requests)  # TFF's own takes lists.

  def weights(self, state: Any) -> tff.learning.models.ModelWeights:
    """Returns the model of a state."""
    return self.process.get_model_weights(state)

  def _check(self, cohort):
    for client in cohort:
      if not isinstance(client, (int, np.integer)) or isinstance(client, bool) or not 0 <= client < self.population:
        raise ValueError(f'cohort must hold positions of clients, 0..{self.population - 1}; found {client!r}.')
    if len(set(cohort)) < len(cohort):  # Noise and the states that clients keep are for one update of each.
      raise ValueError(f'cohort holds a client more than once: {", ".join(map(str, list(cohort)[:12]))}.')

  def _among(self, clients):
    if self.place is None:
      return contextlib.nullcontext()
    return self.place.cohort(clients, population=self.population)
