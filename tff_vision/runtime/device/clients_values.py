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
  def of(self, clients: Sequence[int], lane: Lane) -> list[Any]:
    """Returns the values of some clients, computed on `lane`."""


class Given(OfClients):
  """Values that are there."""

  def __init__(self, values: Sequence[Any]):
    self.values = values

  def of(self, clients, lane):
    del lane
    return [self.values[client] for client in clients]


class Same(OfClients):
  """One value for all clients; it is copied to each device once."""

  def __init__(self, value: Any):
    self.value = value
    self._on_devices: dict[str, Any] = {}
    self._lock = threading.Lock()

  def of(self, clients, lane):
    return [self._on(lane.device)] * len(clients)

  def _on(self, device):
    if self.value is None:
      return None
    with self._lock:
      if device not in self._on_devices:
        self._on_devices[device] = copies.on(device, self.value)
      return self._on_devices[device]


class Mapped(OfClients):
  """A function of other values; it is called whenever values are needed."""

  def __init__(self, function: Callable[[Sequence[Any], Lane], list[Any]], values: OfClients):
    """Args: `function` takes the values of some clients and the lane, and returns a value for each."""
    self._function, self._values = function, values

  def of(self, clients, lane):
    return self._function(self._values.of(clients, lane), lane)


class Zipped(OfClients):
  """A structure of values of clients, as a value of clients."""

  def __init__(self, parts: structure.Struct):
    self._parts = parts

  def of(self, clients, lane):
    known = _each(self._parts, lambda part: part.of(clients, lane))
    return [_each(known, lambda part, place=place: part[place]) for place in range(len(clients))]


class Kept(OfClients):
  """Values that several computations need: each is computed once, and kept in the memory of the processor."""

  def __init__(self, values: OfClients):
    self._values = values
    self._known: dict[int, Any] = {}

  def of(self, clients, lane):
    # A lane computes a client alone, so no two threads get here for the same client.
    missing = [client for client in clients if client not in self._known]
    for client, value in zip(missing, self._values.of(missing, lane), strict=True):
      self._known[client] = copies.on('CPU:0', value)
    return [self._known[client] for client in clients]


def _each(value, change):
  if isinstance(value, structure.Struct):
    return structure.Struct([(name, _each(part, change)) for name, part in structure.iter_elements(value)])
  return change(value)
