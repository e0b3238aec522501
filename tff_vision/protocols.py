"""What the parts of a run are to each other: the processes of its rounds, clients' data, the place where they compute.

A training loop knows a `Process`, a `ClientData` and a `Place`, and nothing of what stands behind them. Each layer of a
run (a secure sum, states that clients keep, clients that cannot be reached) is a process around another one.
"""

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import tensorflow_federated as tff

from tff_vision import told

# The server's state between rounds: a `tff.learning.templates.LearningAlgorithmState` whose leaves are arrays. A
# checkpoint holds its leaves in the structure that `Process.initialize` returns, so that structure is a file format:
# what changes it makes the checkpoints of older versions unreadable.
State = Any
Weights: TypeAlias = tff.learning.models.ModelWeights
Layer: TypeAlias = Callable[[tff.learning.templates.ClientWorkProcess], tff.learning.templates.ClientWorkProcess]
Aggregator: TypeAlias = tff.aggregators.UnweightedAggregationFactory | tff.aggregators.WeightedAggregationFactory
Result = TypeVar('Result')


@dataclasses.dataclass(frozen=True)
class RoundOutput:
  """What one round gives.

  Attributes:
    state: The server's, after the round.
    metrics: `client_work`, `aggregator` and `finalizer`, each what that part measured; server-placed values.
    kept: What each client keeps until its next round, in the order of the round's data; None for a client that was
      absent, whose state stays as it is. None in place of the list: clients keep nothing.
  """
  state: State
  metrics: Mapping[str, Any]
  kept: Sequence[Any] | None = None

  def over(self, positions: Sequence[int], count: int) -> 'RoundOutput':
    """Returns the output of a round over a part of a cohort as one over all of it.

    Args:
      positions: Of the clients of the round in the cohort of `count`.
    """
    if self.kept is None:
      return self
    found = dict(zip(positions, self.kept, strict=True))
    return dataclasses.replace(self, kept=[found.get(position) for position in range(count)])


class Process(Protocol):
  """A federated training, round by round. It has no state of its own: what changes is passed in and returned."""

  @property
  @abc.abstractmethod
  def sent_length(self) -> int:
    """How many numbers a client's update has."""

  @abc.abstractmethod
  def initialize(self) -> State:
    """Returns a state whose model weights are arbitrary: `set_model_weights` puts the initial model in."""

  @abc.abstractmethod
  def next(self, state: State, data: Sequence[Any]) -> RoundOutput:
    """Runs one round.

    Args:
      state: Of the round before; where the round fails it is still good, and the round can be run again.
      data: For each client of the cohort, what the run's `ClientData.request` returns; may be empty.
    """

  @abc.abstractmethod
  def get_model_weights(self, state: State) -> Weights:
    """Returns the model of a state."""

  @abc.abstractmethod
  def set_model_weights(self, state: State, weights: Weights) -> State:
    """Returns the state with another model."""


class WrappedProcess(Process):
  """A process around another one whose state is its own too; what is not overridden is the other's."""

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
  """A process that is one TFF computation, see `learning.composition`: what all others are around."""

  @property
  @abc.abstractmethod
  def keeps(self) -> bool:
    """Whether clients keep something: then data are pairs of a client's own data and what it keeps."""

  @property
  @abc.abstractmethod
  def state_type(self) -> tff.StructType:
    """Of the server's state, unplaced."""

  @abc.abstractmethod
  def measure(self, state: State, data: Sequence[Any]) -> RoundOutput:
    """Runs the clients' part of one round, and its aggregation, for what these measure; the state stays as it is.

    Args: as of `next`.
    """


class BuildProcess(Protocol):
  """Makes a run's process around an aggregator: everything else of the run is given."""

  def __call__(self, *, aggregator: Aggregator, client_work_layer: Layer = ..., beside: told.Beside = ...
               ) -> ComposedProcess:
    """Returns the process.

    Args:
      client_work_layer: Wraps what clients do, for aggregators that need more than data from them.
      beside: What a client's computation returns beside its update.
    """


def unchanged(client_work: tff.learning.templates.ClientWorkProcess) -> tff.learning.templates.ClientWorkProcess:
  """The `Layer` that does nothing."""
  return client_work


class ClientData(Protocol):
  """What a process is given for each client."""

  @abc.abstractmethod
  def present(self, cohort: Sequence[int]) -> Sequence[int]:
    """Returns the clients of `cohort` that have data.

    Raises:
      WorkerLost: A worker is gone.
    """

  @abc.abstractmethod
  def request(self, client: int, round_num: int) -> Any:
    """Returns what `Process.next` takes for `client` in round `round_num`: a pure function of both and of the run."""


class WrappedData(ClientData):
  """Data around other data, for the same clients."""

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


class Party(Protocol):
  """One client of a round: its position in the cohort and its worker, which it may share with others."""

  @property
  def position(self) -> int:
    ...

  @property
  def silo(self) -> Silo:
    ...


class Fault(Protocol):
  """Something that went wrong where clients compute."""

  @property
  def worker(self) -> str:
    ...

  @property
  def reason(self) -> str:
    ...

  @property
  def clients(self) -> Sequence[int]:
    """Those that dropped out of the round."""


class Place(Protocol):
  """Where the clients' work is done: what `runtime.driver.runtimes.open_runtime` yields."""

  WorkerLost: ClassVar[type[Exception]]

  @property
  def pids(self) -> Sequence[int]:
    """The processes on this machine that compute for the run."""

  def cohort(self, clients: Sequence[int], population: int, again: Callable[[Sequence[int]], None] | None = None
             ) -> contextlib.AbstractContextManager[None]:
    """Says which clients the data of the calls inside belong to.

    Args:
      again: Called with clients who may have computed, before they do it again; None: nobody needs to know.
    """

  def take_faults(self) -> Sequence[Any]:
    """Returns what has gone wrong since the last call: each a `Fault` and a dataclass."""

  def limited(self, clients_per_call: int) -> contextlib.AbstractContextManager[None]:
    """Bounds the clients of one call of the computations inside."""

  def with_parties(self, count: int, protocol: Callable[[Sequence[Any]], Result]) -> Result:
    """Returns what `protocol` returns for those of the cohort's `count` clients that can be reached, each a `Party`.

    Computations inside are over these clients. It is called again, from the start, if one is lost meanwhile.
    """
