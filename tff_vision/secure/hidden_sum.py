"""Rounds in which somebody outside of the TFF computation opens the sum: a key holder, all clients, or unmasking.

There are two processes. In the first, each client hides its update and the numbers that it reports beside it, and the
server adds up the hidden values. The hidden sum leaves the round as a `HiddenSum`; the process's own result is zero and
unused. Then the sum is opened. In the second process, the innermost sum of the aggregation stack is a constant from the
state. This process runs without clients, so it does only what follows a sum: division, noise, the server's optimizer.
Layers that learn from clients between rounds (adaptive clipping by quantiles) do not fit here, because the second
process has no clients.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import protocols, told
from tff_vision.secure import refusal

_OPENED = 'opened_sum'
_NOTHING = np.zeros([0], np.float32)


class HiddenSum(NamedTuple):
  """The server-placed measurement of a hiding sum: the only result of a round that is read to open the sum.

  Attributes:
    total: The sum of the clients' hidden values: ciphertexts or masked integers.
    clients: The number of clients in the sum, int32.
    length: The length of the vector that each client hid, int32.
  """
  total: Any
  clients: Any
  length: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
  """An opened sum.

  Attributes:
    vector: The result of the second process's innermost sum, [n] float32.
    weight: The total weight of all clients, where updates are weighted.
    measured: The measurements that clients reported of their training; empty if there are none.
  """
  vector: np.ndarray
  weight: float = 0.0
  measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class HiddenRound:
  """The result of the clients' part of a round.

  Attributes:
    client_work: The measurements that clients reported in the clear.
    kept: As in `protocols.RoundOutput`.
  """
  hidden: HiddenSum
  client_work: Any
  kept: Sequence[Any] | None


class Hiding:
  """The first process: clients train, and their hidden updates are added up."""

  def __init__(self, process: protocols.ComposedProcess,
               limited: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext):
    """Args: `process`'s aggregator measures a `HiddenSum`; calls inside of `limited()` fit into memory."""
    self._process = process
    self._limited = limited

  def next(self, state: protocols.State, data: Sequence[Any]) -> HiddenRound:
    """Runs the clients' part of one round. Args: `state` is the run's, without the state of the hiding sum."""
    with self._limited():
      output = self._process.measure(state, data)
    hidden = output.metrics['aggregator']
    assert isinstance(hidden, HiddenSum), f'the innermost sum must stand alone, found {type(hidden).__name__}'
    return HiddenRound(hidden, output.metrics['client_work'], output.kept)


class Opening(protocols.WrappedProcess):
  """The second process: what follows the sum. Its state is the run's state, and holds no sum between rounds."""

  def __init__(self, process: protocols.ComposedProcess, place: Sequence[str]):
    """Initializes the process.

    Args:
      process: Composed around `OpenedSumFactory`.
      place: The path of names to the state of that sum within the aggregator's state.

    Raises:
      ValueError: There is no such state.
    """
    super().__init__(process)
    self._place = tuple(place)
    kind = process.state_type.aggregator
    try:
      for name in self._place:
        kind = kind[name]
    except (AttributeError, KeyError, TypeError):
      kind = None
    if kind is None or not kind.is_equivalent_to(nothing_opened.type_signature.result):
      raise ValueError(f'the aggregator does not keep the state of its sum in {"/".join(self._place) or "its own"}, '
                       f'where PLACE_OF_SUM says: {process.state_type.aggregator}.')

  def open(self, state: protocols.State, opened: Opened) -> protocols.RoundOutput:
    """Runs the server's part of one round on an opened sum; the returned state holds nothing of the sum."""
    output = self._process.next(self._with(state, opened.vector, opened.weight), [])
    return dataclasses.replace(output, state=self._with(output.state, _NOTHING, 0.0))

  def _with(self, state, vector, weight):
    """Returns the state with an opened sum in its two places; the weight is set only if a server step reads it."""
    state = state._replace(aggregator=_replaced(state.aggregator, self._place, opened_state(vector)))
    if isinstance(state.finalizer, Mapping) and told.COHORT_WEIGHT in state.finalizer:
      state = state._replace(finalizer=_replaced(state.finalizer, [told.COHORT_WEIGHT], np.float32(weight)))
    return state


class HiddenSumProcess(protocols.WrappedProcess):
  """A process whose sums are hidden, and opened by another party."""

  def __init__(self, *, hiding: Hiding, opening: Opening, hiding_state: Mapping[str, Any],
               read: Callable[[np.ndarray, int], Opened], client_data: Callable[[Sequence[Any]], Sequence[Any]],
               open_sum: Callable[[np.ndarray, int, int], np.ndarray], fewest: int = 2):
    """Initializes the process.

    Args:
      hiding_state: The state of the hiding sum, which is the only sum in its stack.
      read: Takes the result of `open_sum` and the number of clients in it; returns the `Opened` sum.
      client_data: Takes the cohort's data; returns the input of `hiding.next`; called once per round.
      open_sum: Takes the hidden sum, the number of clients in it and the length of each hidden vector; returns the
        vector of sums, [length].
      fewest: The least number of clients; a sum over fewer clients is not opened.
    """
    super().__init__(opening)
    self._hiding = hiding
    self._opening = opening
    self._hiding_state = hiding_state
    self._read = read
    self._client_data = client_data
    self._open_sum = open_sum
    self._fewest = fewest

  def next(self, state: protocols.State, data: Sequence[Any]) -> protocols.RoundOutput:
    """Runs one round.

    Raises:
      ValueError: The sum cannot be opened, or has too few clients; the state is unchanged, and the round may be rerun.
    """
    found = self._hiding.next(state._replace(aggregator=self._hiding_state), self._client_data(data))
    clients = int(found.hidden.clients)
    refusal.check_clients(clients, self._fewest)
    total = self._read(np.asarray(self._open_sum(np.asarray(found.hidden.total), clients, int(found.hidden.length))),
                       clients)
    opened = self._opening.open(state, total)
    client_work = collections.OrderedDict(train=total.measured) if total.measured else found.client_work
    return protocols.RoundOutput(opened.state, collections.OrderedDict(opened.metrics, client_work=client_work),
                                 found.kept)


class OpenedSumFactory(tff.aggregators.UnweightedAggregationFactory):
  """A sum that ignores its clients and returns the vector in its state; it leaves that vector empty."""

  def create(self, value_type):
    length = vector_length(value_type)

    @tff.federated_computation
    def initialize():
      return tff.federated_eval(nothing_opened, tff.SERVER)

    @tff.tensorflow.computation(initialize.type_signature.result.member)
    def opened(state):
      return tf.ensure_shape(state[_OPENED], [length])

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      del value
      return tff.templates.MeasuredProcessOutput(
          initialize(), tff.federated_map(opened, state), tff.federated_value((), tff.SERVER))

    return tff.templates.AggregationProcess(initialize, next_fn)


@tff.tensorflow.computation
def nothing_opened():
  """Returns the state of a sum that waits for an opened vector: a vector of any length, empty between rounds."""
  return collections.OrderedDict([(_OPENED, tf.compat.v1.placeholder_with_default(tf.zeros([0]), [None]))])


def opened_state(vector: np.ndarray = _NOTHING) -> collections.OrderedDict:
  """Returns the state of an `OpenedSumFactory` with the opened `vector`; by default an empty one."""
  return collections.OrderedDict([(_OPENED, vector)])


def hidden_output(state, hidden, *, clients_max: int, length: int, fewest: int = 2
                  ) -> tff.templates.MeasuredProcessOutput:
  """Returns the output of a hiding sum: a result of zeros, and a `HiddenSum` as measurement.

  Args:
    hidden: The sum, server-placed; it fails if it has one client, fewer than `fewest`, or more than `clients_max`. A
      sum over no clients does not fail, and is not opened.
  """

  @tff.tensorflow.computation
  def zeros():
    return tf.zeros([length], tf.float32)

  @tff.tensorflow.computation(hidden.type_signature.member, np.int32)
  def checked(total, clients):
    with tf.control_dependencies([refusal.cohort_assertion(clients, clients_max, fewest)]):
      return tf.identity(total)

  clients = tff.federated_sum(tff.federated_value(np.int32(1), tff.CLIENTS))
  measured = tff.federated_zip(HiddenSum(
      total=tff.federated_map(checked, (hidden, clients)), clients=clients,
      length=tff.federated_value(np.int32(length), tff.SERVER)))
  return tff.templates.MeasuredProcessOutput(state, tff.federated_eval(zeros, tff.SERVER), measured)


def vector_length(value_type) -> int:
  """Returns the length of a float32 vector type.

  Raises:
    TypeError: The type is another one.
  """
  if not isinstance(value_type, tff.TensorType) or len(value_type.shape) != 1 or value_type.dtype != np.float32:
    raise TypeError(f'secure sums take float32 vectors, found {value_type}; wrap the factory in '
                    'tff.aggregators.concat_factory for structures.')
  return value_type.shape[0]


def _replaced(structure, place, value):
  """Returns a copy of nested mappings with one value replaced, in the same containers; the input is unchanged."""
  if not place:
    return value
  changed = type(structure)(structure)
  changed[place[0]] = _replaced(structure[place[0]], place[1:], value)
  return changed
