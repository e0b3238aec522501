"""Executors that are sent a computation once, and told in one message what they may forget.

TFF sends the computation anew in every round and takes leave of every value by itself: 10 ms of the driver's time, in
which no client computes.
"""

import collections
import sys
from collections.abc import Callable

import tensorflow_federated as tff

# Of one executor: a round, an evaluation, and what few others a run alternates between.
_COMPUTATIONS_KEPT = 8


class LeanExecutor(tff.framework.RemoteExecutor):
  """A remote executor that keeps its computations; other values go with `forget`, once nobody refers to them."""

  def __init__(self, service: tff.framework.RemoteExecutorStub):
    super().__init__(service, dispose_batch_size=sys.maxsize)
    self._computations = collections.OrderedDict()

  async def create_value(self, value, type_spec=None):
    if not isinstance(value, tff.Computation):
      return await super().create_value(value, type_spec)
    if id(value) in self._computations:
      self._computations.move_to_end(id(value))
    else:  # The computation is kept too, so that no other one gets its id.
      self._computations[id(value)] = value, await super().create_value(value, type_spec)
      if len(self._computations) > _COMPUTATIONS_KEPT:
        self._computations.popitem(last=False)
    return self._computations[id(value)][1]

  def forget(self) -> None:
    """Frees the values on the worker that nobody here refers to any more."""
    if self._dispose_request is not None and self._dispose_request.value_ref:
      request = self._dispose_request
      self._dispose_request = type(request)(executor=request.executor)
      self._stub.dispose(request)

  def close(self) -> None:
    self._computations.clear()  # Each refers to this executor: nobody else would free it.
    super().close()


class LeanExecutors(tff.framework.ExecutorFactory):
  """Executors on one worker, one for each number of clients; those not used for longest are closed."""

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
    """Closes the executor for this number of clients, as TFF does where a call has failed."""
    executor = self._executors.pop(cardinalities.get(tff.CLIENTS, 0), None)
    if executor is not None:
      executor.close()

  def forget(self) -> None:
    """See `LeanExecutor.forget`; between calls."""
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
