"""Runs compiled federated computations in this process: the server's part on the processor, the clients' on lanes.

A computation that TFF has compiled is a sequence of calls of TensorFlow computations and of a few federated operators.
A value of clients is not computed until something needs it: an aggregation computes one client after the other on each
lane, and forgets what is added, so that a cohort of any size needs the memory of a few clients.

What clients send is added in the order of the clients, as TFF's executor does it, so a sum does not depend on the
number of lanes or devices.

Not public API: the messages are TFF's own.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import computation_pb2
from tensorflow_federated.python.core.impl.types import type_serialization

from tff_vision.runtime.device import clients_values, copies, sequences, values
from tff_vision.runtime.device.clients_values import OfClients
from tff_vision.runtime.device.lanes import Lane, Lanes
from tff_vision.runtime.tff_internals import references

structure = tff.structure


@dataclasses.dataclass(frozen=True)
class OfServer:
  """A value at the server."""
  value: Any


@dataclasses.dataclass(frozen=True)
class Function:
  """A function, with the values of the names that it uses.

  Attributes:
    message: A lambda, a TensorFlow computation or an intrinsic.
  """
  message: computation_pb2.Computation
  names: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Interpreter:
  """Runs computations; calls of several threads run one after the other, and `close` ends them."""

  def __init__(self, lanes: Lanes, leaves: copies.Copies):
    self.lanes = lanes
    self.leaves = leaves
    self._call = threading.Lock()

  def call(self, function: Function, argument: Any, clients: int) -> Any:
    """Returns the result of a function.

    Args:
      function: A `Function`.
      argument: None if it has no parameter.
      clients: The number of clients.

    Raises:
      Closed: The lanes are closed, maybe meanwhile.
      OutOfMemory: No device has enough memory for one client.
      NotImplementedError: The computation has an operator that is no part of compiled computations.
    """
    with self._call:
      return _Call(self, clients).finished(function, argument)

  def close(self) -> None:
    self.lanes.close()  # So a call in another thread ends; nothing may compute while the copies are freed.
    with self._call:
      self.leaves.close()


class _Call:
  """One call of a federated computation."""

  def __init__(self, interpreter, clients):
    self._lanes, self._leaves, self._clients = interpreter.lanes, interpreter.leaves, clients

  def finished(self, function, argument):
    """Returns the result with every value of clients computed."""
    result = self.apply(function, argument, self._lanes.server)
    return self._computed(result)

  def apply(self, function: Function, argument: Any, lane: Lane) -> Any:
    message = function.message
    kind = message.WhichOneof('computation')
    if kind == 'tensorflow':
      return self._leaves.call(message.tensorflow, argument, lane)
    if kind == 'lambda':
      part = getattr(message, 'lambda')
      names = function.names
      if part.parameter_name:
        names = {**names, part.parameter_name: self._shared(argument, part.parameter_name, [part.result])}
      return self._evaluate(part.result, names, lane)
    if kind == 'intrinsic':
      return self._intrinsic(message, argument, lane)
    raise NotImplementedError(f'a {kind} cannot be called.')

  def _evaluate(self, message, names, lane):
    kind = message.WhichOneof('computation')
    if kind in ('tensorflow', 'lambda', 'intrinsic'):
      return Function(message, names)
    if kind == 'reference':
      return names[message.reference.name]
    if kind == 'literal':
      return values.literal(message.literal.value)
    if kind == 'call':
      function = self._evaluate(message.call.function, names, lane)
      argument = self._evaluate(message.call.argument, names, lane) if message.call.HasField('argument') else None
      return self.apply(function, argument, lane)
    if kind == 'selection':
      return self._evaluate(message.selection.source, names, lane)[message.selection.index]
    if kind == 'struct':
      return structure.Struct([(part.name or None, self._evaluate(part.value, names, lane))
                               for part in message.struct.element])
    if kind == 'block':
      local = list(message.block.local)
      for place, one in enumerate(local):
        rest = [*(later.value for later in local[place + 1:]), message.block.result]
        names = {**names, one.name: self._shared(self._evaluate(one.value, names, lane), one.name, rest)}
      return self._evaluate(message.block.result, names, lane)
    raise NotImplementedError(f'a {kind} is no part of a compiled computation.')

  def _shared(self, value, name, scope):
    """Returns a value that is computed once, even if `scope` refers to it several times."""
    if _holds_clients(value) and sum(references.count(message, name) for message in scope) > 1:
      return _over_clients(value, clients_values.Kept)
    return value

  def _intrinsic(self, message, argument, lane):
    name = message.intrinsic.uri
    if name in _OF_SEQUENCES:  # Their elements are taken apart and put together by their types.
      return _OF_SEQUENCES[name](self, argument, type_serialization.deserialize_type(message.type), lane)
    if name not in _OF_VALUES:
      raise NotImplementedError(f'the operator {name} is no part of a compiled computation.')
    return _OF_VALUES[name](self, argument)

  # The operators, as TFF names them.

  def federated_value_at_server(self, argument):
    return OfServer(argument)

  def federated_value_at_clients(self, argument):
    return clients_values.Same(argument)

  def federated_broadcast(self, argument):
    return clients_values.Same(argument.value)

  def federated_eval_at_server(self, argument):
    return OfServer(self.apply(argument, None, self._lanes.server))

  def federated_eval_at_clients(self, argument):
    return self.federated_map((argument, clients_values.Same(None)))

  def federated_apply(self, argument):
    function, value = argument
    return OfServer(self.apply(function, value.value, self._lanes.server))

  def federated_map(self, argument):
    function, value = argument

    def mapped(arguments, lane):
      if _is_tensorflow(function):
        return self._leaves.call_several(function.message.tensorflow, arguments, lane)
      return [self.apply(function, one, lane) for one in arguments]

    return clients_values.Mapped(mapped, value)

  def federated_map_all_equal(self, argument):
    function, value = argument
    if isinstance(value, clients_values.Same):
      return clients_values.Same(self.apply(function, value.value, self._lanes.server))
    return self.federated_map(argument)

  def federated_zip_at_server(self, argument):
    return OfServer(_unplaced(argument))

  def federated_zip_at_clients(self, argument):
    if all(isinstance(part, clients_values.Same) for part in structure.flatten(argument)):
      return clients_values.Same(_unplaced(argument))
    return clients_values.Zipped(argument)

  def federated_aggregate(self, argument):
    value, zero, accumulate, _, report = argument
    home, found = self._lanes.home, [zero]
    total = self._leaves.sum_of(accumulate.message.tensorflow, home) if _is_tensorflow(accumulate) else None
    if total is not None:
      total.begin(list(values.flatten(zero)))
      self._run(value.of, lambda sent: total.add(list(values.flatten(sent))))
      tensors = iter(total.end())
      whole = values.moved(zero, lambda _: next(tensors))
      return OfServer(self.apply(report, copies.on(self._lanes.server.device, whole), self._lanes.server))

    def add(sent):
      found[0] = self.apply(accumulate, structure.Struct.unnamed(found[0], sent), home)

    self._run(value.of, add)
    return OfServer(self.apply(report, copies.on(self._lanes.server.device, found[0]), self._lanes.server))

  def federated_select(self, argument, kind, lane):
    del lane
    keys, _, value, function = argument
    server = self._lanes.server

    def chosen(found):
      slices = [self.apply(function, structure.Struct.unnamed(value.value, key), server) for key in tf.unstack(found)]
      return sequences.of(slices, kind.result.member.element)

    return clients_values.Mapped(lambda many, lane: list(map(chosen, many)), keys)

  def sequence_map(self, argument, kind, lane):
    function, sequence = argument
    return sequences.mapped(sequence, kind.parameter[1].element, lambda one: self.apply(function, one, lane))

  def sequence_reduce(self, argument, kind, lane):
    sequence, found, function = argument
    for one in sequences.elements(sequence, kind.parameter[0].element):
      found = self.apply(function, structure.Struct.unnamed(found, one), lane)
    return found

  def _run(self, work: Callable[[Sequence[int], Lane], Iterable[Any]], take: Callable[[Any], None]) -> None:
    """Computes all clients, those of a call together, and calls `take` with their results in the order of clients."""
    calls = -(-self._clients // self._leaves.most_clients)
    groups = [range(self._clients * call // calls, self._clients * (call + 1) // calls) for call in range(calls)]

    def take_all(results):
      for result in results:
        take(result)

    self._lanes.run(calls, lambda call, lane: work(groups[call], lane), take_all,
                    clients_each=self._leaves.most_clients)

  def _computed(self, value):
    """Returns a result in which every value of clients is a list."""
    if not _holds_clients(value):
      return value
    parts: list[OfClients] = []
    _over_clients(value, parts.append)
    found: list[list[Any]] = [[] for _ in parts]

    def keep(of_client):
      for known, one in zip(found, of_client, strict=True):
        known.append(one)

    def work(clients, lane):
      return zip(*([copies.on(self._lanes.server.device, one) for one in part.of(clients, lane)] for part in parts),
                 strict=True)

    self._run(work, keep)
    lists = iter(found)
    return _over_clients(value, lambda part: clients_values.Given(next(lists)))


def _by_name(*operators):
  return {operator.__name__: operator for operator in operators}


_OF_VALUES: Mapping[str, Callable[..., Any]] = _by_name(
    _Call.federated_value_at_server, _Call.federated_value_at_clients, _Call.federated_broadcast,
    _Call.federated_eval_at_server, _Call.federated_eval_at_clients, _Call.federated_apply, _Call.federated_map,
    _Call.federated_map_all_equal, _Call.federated_zip_at_server, _Call.federated_zip_at_clients,
    _Call.federated_aggregate)
_OF_SEQUENCES: Mapping[str, Callable[..., Any]] = _by_name(
    _Call.federated_select, _Call.sequence_map, _Call.sequence_reduce)
# What TFF's compiler leaves in a computation, and `worker_binary` runs.
OPERATORS = frozenset({*_OF_VALUES, *_OF_SEQUENCES})


def _is_tensorflow(function):
  return function.message.WhichOneof('computation') == 'tensorflow'


def _holds_clients(value):
  if isinstance(value, structure.Struct):
    return any(_holds_clients(part) for part in value)
  return isinstance(value, OfClients) and not isinstance(value, (clients_values.Given, clients_values.Same))


def _over_clients(value, change: Callable[[OfClients], Any]):
  """Returns a value with `change` applied to the parts of it that clients compute."""
  if isinstance(value, structure.Struct):
    return structure.Struct([(name, _over_clients(part, change)) for name, part in structure.iter_elements(value)])
  return change(value) if _holds_clients(value) else value


def _unplaced(value):
  if isinstance(value, structure.Struct):
    return structure.Struct([(name, _unplaced(part)) for name, part in structure.iter_elements(value)])
  return value.value
