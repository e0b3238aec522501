"""Values of clients, each computed when it is needed."""

import abc
import threading
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow_federated as tff

from tff_vision.runtime.device import copies
from tff_vision.runtime.device.lanes import Lane

structure = tff.structure


class OfClients(abc.ABC):
  """One value for each client."""

  @abc.abstractmethod
  def of(self, client: int, lane: Lane) -> Any:
    """Returns the value of a client, computed on `lane`."""

  def several(self, clients: Sequence[int], lane: Lane) -> list[Any]:
    """Returns the values of some clients."""
    return [self.of(client, lane) for client in clients]


class Given(OfClients):
  """Values that are there."""

  def __init__(self, values: Sequence[Any]):
    self.values = values

  def of(self, client, lane):
    del lane
    return self.values[client]


class Same(OfClients):
  """One value for all clients; it is copied to each device once."""

  def __init__(self, value: Any):
    self.value = value
    self._on_devices: dict[str, Any] = {}
    self._lock = threading.Lock()

  def of(self, client, lane):
    del client
    if self.value is None:
      return None
    with self._lock:
      if lane.device not in self._on_devices:
        self._on_devices[lane.device] = copies.on(lane.device, self.value)
      return self._on_devices[lane.device]


class Mapped(OfClients):
  """A function of other values; it is called whenever a value is needed."""

  def __init__(self, function: Callable[[Any, Lane], Any], values: OfClients,
               several: Callable[[Sequence[Any], Lane], list[Any]] | None = None):
    """Prepares for calls.

    Args:
      function: Takes a client's value and the lane.
      several: The same for several clients; None: one after the other.
    """
    self._function, self._values, self._several = function, values, several

  def of(self, client, lane):
    return self._function(self._values.of(client, lane), lane)

  def several(self, clients, lane):
    given = self._values.several(clients, lane)
    if self._several is not None:
      return self._several(given, lane)
    return [self._function(one, lane) for one in given]


class Zipped(OfClients):
  """A structure of values of clients, as a value of clients."""

  def __init__(self, parts: structure.Struct):
    self._parts = parts

  def of(self, client, lane):
    return _each(self._parts, lambda part: part.of(client, lane))

  def several(self, clients, lane):
    known = _each(self._parts, lambda part: part.several(clients, lane))
    return [_each(known, lambda part, place=place: part[place]) for place in range(len(clients))]


class Kept(OfClients):
  """Values that several computations need: each is computed once, and kept in the memory of the processor."""

  def __init__(self, values: OfClients):
    self._values = values
    self._known: dict[int, Any] = {}

  def of(self, client, lane):
    # A lane computes a client alone, so no two threads get here for the same client.
    if client not in self._known:
      self._known[client] = copies.on('CPU:0', self._values.of(client, lane))
    return self._known[client]

  def several(self, clients, lane):
    missing = [client for client in clients if client not in self._known]
    for client, value in zip(missing, self._values.several(missing, lane), strict=True):
      self._known[client] = copies.on('CPU:0', value)
    return [self._known[client] for client in clients]


def _each(value, change):
  if isinstance(value, structure.Struct):
    return structure.Struct([(name, _each(part, change)) for name, part in structure.iter_elements(value)])
  return change(value)
