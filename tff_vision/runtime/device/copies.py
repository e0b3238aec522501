"""The copies of TensorFlow computations on the lanes of this process; those that were not called for long are freed."""

import collections
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_federated.proto.v0 import computation_pb2

from tff_vision.runtime.device import leaf, sums, values
from tff_vision.runtime.device import program as program_lib
from tff_vision.runtime.device.lanes import Lane

# A round has about ten TensorFlow computations; a run alternates between a few rounds, evaluations and protocols.
_KEPT = 256


class Copies:
  """Calls TensorFlow computations on lanes.

  A computation with variables has a copy for each lane, because lanes call it at the same time; any other has one for
  each device.
  """

  def __init__(self, make: Callable[[program_lib.Program, str], Any] = leaf.Leaf, *,
               rewritings: Sequence[program_lib.Rewriting] = ()):
    """Prepares for calls.

    Args:
      make: Returns a copy of a program on a device.
      rewritings: What is done to the graphs of all programs.
    """
    self._make, self._rewritings = make, tuple(rewritings)
    self._programs: collections.OrderedDict[Any, tuple[program_lib.Program, dict[Any, Any]]] = collections.OrderedDict()
    self._digests: collections.OrderedDict[int, tuple[Any, bytes]] = collections.OrderedDict()
    self._lock = threading.Lock()

  def call(self, message: computation_pb2.TensorFlow, argument: Any, lane: Lane) -> Any:
    """Returns the result of a computation for an argument, both as `values` describes them; None: no argument.

    Raises:
      tf.errors.OpError: As in `leaf.Leaf`.
    """
    program, made = self._program(message)
    where = (lane.device, lane.number) if program.is_stateful else lane.device
    with self._lock:
      if where not in made:
        made[where] = self._make(program, lane.device)
    with tf.device(lane.device):
      arguments = [] if argument is None else list(values.flatten(argument))
    return values.pack(program.result, iter(made[where](arguments)))

  def sum_of(self, message: computation_pb2.TensorFlow, lane: Lane) -> sums.Sum | None:
    """Returns the accumulator of an accumulating computation if this is a sum, tensor by tensor; otherwise None."""
    program, made = self._program(message)
    where = ('sum', lane.device)
    with self._lock:
      if where not in made:
        made[where] = sums.Sum(program, lane.device) if sums.is_sum(program) else None
      return made[where]

  def leaves(self) -> Sequence[Any]:
    """Returns all copies, for tests."""
    return [copy for _, made in self._programs.values() for copy in made.values() if isinstance(copy, leaf.Leaf)]

  def close(self) -> None:
    with self._lock:
      self._digests.clear()
      while self._programs:
        self._free(self._programs.popitem()[1])

  def _program(self, message):
    with self._lock:
      key = self._digest(message)
      if key in self._programs:
        self._programs.move_to_end(key)
      else:
        self._programs[key] = program_lib.Program(message, self._rewritings), {}
        if len(self._programs) > _KEPT:
          self._free(self._programs.popitem(last=False)[1])
      return self._programs[key]

  def _digest(self, message):
    """Returns what tells computations apart; not the number that is sent with one, which two of them may have."""
    known = self._digests.get(id(message))
    if known is None or known[0] is not message:  # The message is kept, so that no other one gets its id.
      known = message, hashlib.sha256(message.SerializeToString(deterministic=True)).digest()
      self._digests[id(message)] = known
      if len(self._digests) > _KEPT:
        self._digests.popitem(last=False)
    return known[1]

  def _free(self, entry):
    for copy in entry[1].values():
      if copy is not None:
        copy.close()


def on(device: str, value: Any) -> Any:
  """Returns a value with its numbers on a device; on the device where they are already, nothing is copied."""
  with tf.device(device):
    return values.moved(value, tf.identity)
