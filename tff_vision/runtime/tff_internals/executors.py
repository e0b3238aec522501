"""Executors that do not receive values twice, and release many values in one message.

TFF sends the computation and the server's state again in every round, and it releases every value with a separate
message. For 5 MB of weights this costs 15 ms of the driver's time, in which no client computes.
"""

import collections
import operator
import sys
from collections.abc import Callable

import numpy as np
import tensorflow_federated as tff

# For one executor: a round, an evaluation, and a few other computations that a run alternates between.
_COMPUTATIONS_KEPT = 8


class LeanExecutor(tff.framework.RemoteExecutor):
  """A remote executor that keeps its computations and the last result.

  The state that a round returns is the argument of the next round. If its arrays are the same objects that were
  fetched, and are read-only, the executor reuses the value on the worker. `forget` frees other values that nothing
  refers to.
  """

  def __init__(self, service: tff.framework.RemoteExecutorStub):
    super().__init__(service, dispose_batch_size=sys.maxsize)
    self._computations = collections.OrderedDict()
    self._result = self._fetched = None

  async def create_value(self, value, type_spec=None):
    if not isinstance(value, tff.Computation):
      if (index := self._position_in_result(value, type_spec)) is not None:
        return await self.create_selection(self._result, index)
      return await super().create_value(value, type_spec)
    if id(value) in self._computations:
      self._computations.move_to_end(id(value))
    else:  # The computation is kept too, so that no other computation gets its id.
      self._computations[id(value)] = value, await super().create_value(value, type_spec)
      if len(self._computations) > _COMPUTATIONS_KEPT:
        self._computations.popitem(last=False)
    return self._computations[id(value)][1]

  async def create_call(self, comp, arg=None):
    self._result = self._fetched = None
    self._result = await super().create_call(comp, arg)
    return self._result

  async def _compute(self, value_ref, type_spec):
    found = await super()._compute(value_ref, type_spec)
    if self._result is not None and value_ref is self._result.reference and isinstance(type_spec, tff.StructType):
      self._fetched = [_constants(part) if _is_servers(kind) else None
                       for part, kind in zip(found, type_spec, strict=True)]
    return found

  def _position_in_result(self, value, kind):
    """Returns the index of `value` in the last result; None if it is another value."""
    if self._fetched is None or not _is_servers(kind) or (constants := _constants(value)) is None:
      return None
    for index, part in enumerate(self._fetched):
      if (part is not None and len(part) == len(constants) and all(map(operator.is_, part, constants))
          and kind.is_equivalent_to(self._result.type_signature[index])):
        return index
    return None

  def forget(self) -> None:
    """Frees the values on the worker that this process no longer refers to."""
    if self._dispose_request is not None and self._dispose_request.value_ref:
      request = self._dispose_request
      self._dispose_request = type(request)(executor=request.executor)
      self._stub.dispose(request)

  def close(self) -> None:
    # Each value refers to this executor, so nothing else would free them.
    self._computations.clear()
    self._result = self._fetched = None
    super().close()


class LeanExecutors(tff.framework.ExecutorFactory):
  """Executors on one worker, one for each number of clients; the least recently used ones are closed."""

  def __init__(self, open_executor: Callable[[int], LeanExecutor], kept: int):
    """Args: `open_executor` takes the number of clients; at most `kept` are open at a time."""
    self._open = open_executor
    self._kept = kept
    self._executors = collections.OrderedDict()

  def create_executor(self, cardinalities):
    clients = cardinalities.get(tff.CLIENTS, 0)
    if clients not in self._executors:
      while len(self._executors) >= self._kept:
        self._executors.popitem(last=False)[1].close()
      self._executors[clients] = self._open(clients)
    self._executors.move_to_end(clients)
    return self._executors[clients]

  def clean_up_executor(self, cardinalities):
    """Closes the executor for this number of clients; TFF calls this after a failed call."""
    executor = self._executors.pop(cardinalities.get(tff.CLIENTS, 0), None)
    if executor is not None:
      executor.close()

  def forget(self) -> None:
    """See `LeanExecutor.forget`; to be called between calls of computations."""
    for executor in self._executors.values():
      executor.forget()

  def close(self) -> None:
    while self._executors:
      self._executors.popitem()[1].close()


def open_executor(service: tff.framework.RemoteExecutorStub, clients: int) -> LeanExecutor:
  """Returns a new executor on a worker, for calls with this many clients."""
  executor = LeanExecutor(service)
  executor.set_cardinalities({tff.CLIENTS: clients})
  return executor


def open_for_handles(service: tff.framework.RemoteExecutorStub, clients: int = 0) -> tff.framework.RemoteExecutor:
  """Returns a new executor on a worker for `handles.Silo`; it frees each value when its handle is deleted.

  Args:
    service: The stub of the worker.
    clients: The number of clients in one call; 0 for computations without placements.
  """
  executor = tff.framework.RemoteExecutor(service, dispose_batch_size=1)
  executor.set_cardinalities({tff.CLIENTS: clients})
  return executor


def _is_servers(kind):
  return (isinstance(kind, tff.FederatedType) and kind.placement is tff.SERVER
          and isinstance(kind.member, tff.StructType))


def _constants(value):
  """Returns the parts of a structure; None if it has no array or a writable array."""
  parts = tff.structure.flatten(tff.structure.from_container(value, recursive=True))
  arrays = [part for part in parts if isinstance(part, np.ndarray)]
  return parts if arrays and not any(part.flags.writeable for part in arrays) else None
