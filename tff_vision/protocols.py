"""What the parts of a run are to each other: the processes of its rounds, clients' data, the place where they compute.

A training loop knows only a `Process`, a `ClientData` and a `Place`, not their implementations. Each layer of a run (a
secure sum, states that clients keep, clients that cannot be reached) is a process that wraps another one.
"""

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import tensorflow_federated as tff

from tff_vision import told

# The server's state between rounds: a `tff.learning.templates.LearningAlgorithmState` whose leaves are arrays. A
# checkpoint holds its leaves in the structure that `Process.initialize` returns, so that structure is a file format: a
# change of the structure makes the checkpoints of older versions unreadable.
State = Any
Weights: TypeAlias = tff.learning.models.ModelWeights
Layer: TypeAlias = Callable[[tff.learning.templates.ClientWorkProcess], tff.learning.templates.ClientWorkProcess]
Aggregator: TypeAlias = tff.aggregators.UnweightedAggregationFactory | tff.aggregators.WeightedAggregationFactory
Result = TypeVar('Result')

# The name of a part of a client's data begins so, if it is a placeholder where a site that plays its half of a protocol
# puts its own value in; the protocol's name follows.
MADE_AT_SITE = 'made_at_site_'


@dataclasses.dataclass(frozen=True)
class RoundOutput:
  """The result of one round.

  Attributes:
    state: The server's state after the round.
    metrics: The measurements of `client_work`, `aggregator` and `finalizer`; server-placed values.
    kept: The state that each client keeps until its next round, in the order of the round's data; None for a client
      that was absent, whose state stays unchanged. None in place of the list: clients keep no state.
  """
  state: State
  metrics: Mapping[str, Any]
  kept: Sequence[Any] | None = None

  def over(self, positions: Sequence[int], count: int) -> 'RoundOutput':
    """Returns the output of a round over part of a cohort, expanded to the whole cohort.

    Args:
      positions: The positions of the round's clients in the cohort of `count`.
    """
    if self.kept is None:
      return self
    found = dict(zip(positions, self.kept, strict=True))
    return dataclasses.replace(self, kept=[found.get(position) for position in range(count)])


class Process(Protocol):
  """Federated training, round by round. It has no state of its own: all changing state is passed in and returned."""

  @property
  @abc.abstractmethod
  def sent_length(self) -> int:
    """The count of numbers in a client's update."""

  @abc.abstractmethod
  def initialize(self) -> State:
    """Returns a state with arbitrary model weights; `set_model_weights` sets the initial model."""

  @abc.abstractmethod
  def next(self, state: State, data: Sequence[Any]) -> RoundOutput:
    """Runs one round.

    Args:
      state: The state of the round before. It stays valid if the round fails, and the round can be run again.
      data: The result of the run's `ClientData.request` for each client of the cohort; may be empty.
    """

  @abc.abstractmethod
  def get_model_weights(self, state: State) -> Weights:
    """Returns the model of a state."""

  @abc.abstractmethod
  def set_model_weights(self, state: State, weights: Weights) -> State:
    """Returns the state with another model."""


class WrappedProcess(Process):
  """A process that wraps another one and shares its state; methods that are not overridden are the inner process's."""

  def __init__(self, process: Process):
    self._process = process

  @property
  def sent_length(self) -> int:
    return self._process.sent_length

  def initialize(self) -> State:
    return self._process.initialize()

  def next(self, state: State, data: Sequence[Any]) -> RoundOutput:
    return self._process.next(state, data)

  def get_model_weights(self, state: State) -> Weights:
    return self._process.get_model_weights(state)

  def set_model_weights(self, state: State, weights: Weights) -> State:
    return self._process.set_model_weights(state, weights)


class ComposedProcess(Process, Protocol):
  """A process that is one TFF computation, see `learning.composition`; all other processes wrap such a process."""

  @property
  @abc.abstractmethod
  def keeps(self) -> bool:
    """Whether clients keep state: then data are pairs of a client's own data and its kept state."""

  @property
  @abc.abstractmethod
  def state_type(self) -> tff.StructType:
    """The type of the server's state, unplaced."""

  @abc.abstractmethod
  def measure(self, state: State, data: Sequence[Any]) -> RoundOutput:
    """Runs the clients' part of one round, and its aggregation, for their measurements only; the state is unchanged.

    Args: As in `next`.
    """


class BuildProcess(Protocol):
  """Builds a run's process around an aggregator; all other parts of the run are fixed."""

  def __call__(self, *, aggregator: Aggregator, client_work_layer: Layer = ..., beside: told.Beside = ...
               ) -> ComposedProcess:
    """Returns the process.

    Args:
      client_work_layer: Wraps the client work, for aggregators that need more than data from clients.
      beside: The values that a client's computation returns beside its update.
    """


def unchanged(client_work: tff.learning.templates.ClientWorkProcess) -> tff.learning.templates.ClientWorkProcess:
  """The identity `Layer`: returns the client work unchanged."""
  return client_work


class ClientData(Protocol):
  """The source of the process's input for each client."""

  @abc.abstractmethod
  def present(self, cohort: Sequence[int]) -> Sequence[int]:
    """Returns the clients of `cohort` that have data.

    Raises:
      WorkerLost: A worker was lost.
    """

  @abc.abstractmethod
  def request(self, client: int, round_num: int) -> Any:
    """Returns the input of `Process.next` for `client` in round `round_num`: a pure function of both and of the run."""


class WrappedData(ClientData):
  """Data that wrap other data, for the same clients."""

  def __init__(self, data: ClientData):
    self._data = data

  def present(self, cohort: Sequence[int]) -> Sequence[int]:
    return self._data.present(cohort)

  def request(self, client: int, round_num: int) -> Any:
    return self._data.request(client, round_num)


class Silo(Protocol):
  """A worker that keeps values between calls, such as `runtime.tff_internals.handles.Silo`; one call at a time."""

  def call(self, computation: tff.Computation, *arguments: Any) -> Any:
    """Runs the computation on handles or plain values; returns a handle."""

  def select(self, handle: Any, index: int) -> Any:
    """Returns the handle of one element of a tuple."""

  def fetch(self, handle: Any) -> Any:
    """Returns the value of a handle."""


class Site(Protocol):
  """A site that plays its half of protocols itself, at its guard; it may have several clients.

  Attributes:
    name: The site's name.
    plan: The digest of the plan that its owner approved.
    plays: The names of the protocols.
  """
  WorkerLost: ClassVar[type[Exception]]
  BeginAgain: ClassVar[type[Exception]]
  name: str
  plan: str
  plays: Sequence[str]

  def ask(self, protocol: str, phase: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the site's answer to a message; texts, whole numbers, truth values, bytes, lists and mappings of them.

    Raises:
      ValueError: The site refuses; one sentence.
      BeginAgain: The site was restarted, and knows nothing of this attempt at a round.
      WorkerLost: It does not answer.
    """

  def listen(self) -> None:
    """Keeps, from now on, the results of calls over the site's clients."""

  def heard(self) -> Sequence[Any]:
    """Returns these results, in order, and keeps no more."""


class Party(Protocol):
  """One client of a round: its position in the cohort and its worker, which it may share with others."""

  @property
  def position(self) -> int:
    ...

  @property
  def client(self) -> int:
    """Its number in the population."""

  @property
  def site(self) -> Site | None:
    """The site that plays its half of protocols; None: the coordinator's process plays it."""

  @property
  def silo(self) -> Silo:
    ...


class Fault(Protocol):
  """A failure that happened where clients compute."""

  @property
  def worker(self) -> str:
    ...

  @property
  def reason(self) -> str:
    ...

  @property
  def clients(self) -> Sequence[int]:
    """The clients that dropped out of the round."""


class Place(Protocol):
  """The place where the clients' work is done; `runtime.driver.runtimes.open_runtime` yields it."""

  WorkerLost: ClassVar[type[Exception]]

  @property
  def pids(self) -> Sequence[int]:
    """The process ids on this machine that compute for the run."""

  @property
  def plays(self) -> Collection[str]:
    """The names of the protocols of which all sites play their half themselves."""
    return ()

  @property
  def devices(self) -> Sequence[str]:
    """The devices of this process on which clients are computed, as TensorFlow names them; empty: on none."""
    return ()

  def cohort(self, clients: Sequence[int], population: int, again: Callable[[Sequence[int]], None] | None = None
             ) -> contextlib.AbstractContextManager[None]:
    """Sets which clients the data of the calls inside belong to.

    Args:
      again: Called with clients that may have computed already, before they compute again; None: nobody is notified.
    """

  def take_faults(self) -> Sequence[Any]:
    """Returns the failures since the last call; each one is a `Fault` and a dataclass."""

  def limited(self, clients_per_call: int) -> contextlib.AbstractContextManager[None]:
    """Bounds the number of clients in one call of the computations inside."""

  def with_parties(self, count: int, protocol: Callable[[Sequence[Any]], Result]) -> Result:
    """Returns the result of `protocol` for those of the cohort's `count` clients that can be reached, each a `Party`.

    Computations inside run over these clients. If a client is lost meanwhile, `protocol` starts again.
    """

  def key_holder(self, address: str) -> Any:
    """Returns the key holder at host:port, a `secure.encryption.held_key.KeyHolder`; raises ValueError: none there."""
    raise ValueError(f'key_holder={address} opens what sites sign, and there are none here; give key_holder_dir.')
