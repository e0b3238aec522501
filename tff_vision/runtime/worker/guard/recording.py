"""Writes down everything that a coordinator asks of a worker, for rules that allow the same and no more."""

import contextlib
import threading
from collections.abc import Iterator, Sequence

from tensorflow_federated.proto.v0 import executor_pb2

from tff_vision.runtime.tff_internals import terms
from tff_vision.runtime.worker.guard import rules


class Recording(rules.Watch):
  """Lets everything pass.

  Attributes:
    computations: The digests of all computations.
    values: The keys of the terms of all plain values.
    most_clients: The most clients of an executor.
    activities: For each activity, the steps of each time that it was done.
    leaving: For each activity, what left in each time that it was done, value by value.
  """

  def __init__(self):
    self.computations: set[str] = set()
    self.values: set[str] = set()
    self.most_clients = 0
    self.activities: dict[str, list[list[rules.Step]]] = {}
    self.leaving: dict[str, list[list[list[terms.Leaf]]]] = {}
    self._number = 0
    self._steps: list[rules.Step] = []
    self._leaving: list[list[terms.Leaf]] = []
    self._sizes: dict[str, list[int]] = {}
    self._size = 0
    self._lock = threading.Lock()

  @contextlib.contextmanager
  def activity(self, name: str) -> Iterator[None]:
    """What is asked for inside is one activity of this name."""
    self._number += 1
    self._steps, self._leaving, self._size = [], [], 0
    yield
    if self._steps:
      self.activities.setdefault(name, []).append(self._steps)
      self.leaving.setdefault(name, []).append(self._leaving)
      self._sizes.setdefault(name, []).append(self._size)
    self._steps, self._leaving = [], []

  def most_bytes(self, name: str) -> int:
    """Returns the most bytes that left in one time that an activity was done."""
    return max(self._sizes[name])

  def executor(self, clients: int) -> None:
    self.most_clients = max(self.most_clients, clients)

  def computation(self, digest: str) -> None:
    self.computations.add(digest)

  def value(self, key: str, names: Sequence[str]) -> None:
    del names
    self.values.add(key)

  def call(self, key: str, names: Sequence[str], clients: int, made_in: frozenset[int]) -> int:
    del names, clients, made_in
    with self._lock:
      self._steps.append(rules.Step(rules.CALL, key))
    return self._number

  def fetch(self, key: str, made_in: frozenset[int]) -> None:
    del made_in
    with self._lock:
      self._steps.append(rules.Step(rules.FETCH, key))

  def leaves(self, answer: bytes) -> None:
    found = executor_pb2.ComputeResponse.FromString(answer).value
    with self._lock:
      self._leaving.append(list(terms.leaves(found)))
      self._size += len(answer)
