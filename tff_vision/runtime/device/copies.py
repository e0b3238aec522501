"""The copies of TensorFlow computations on the lanes of this process; those that were not called for long are freed."""

import collections
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_federated.proto.v0 import computation_pb2

from tff_vision.runtime.device import leaf, said, stacked_leaf, sums, values
from tff_vision.runtime.device import program as program_lib
from tff_vision.runtime.device.lanes import Lane

# A round has about ten TensorFlow computations; a run alternates between a few rounds, evaluations and protocols.
_KEPT = 256
# Stands among the copies of a program after a call of several clients has failed.
_NO_MORE = 'no more calls of several clients'


class Copies:
  """Calls TensorFlow computations on lanes.

  A computation with variables has a copy for each lane, because lanes call it at the same time; any other has one for
  each device.
  """

  def __init__(self, make: Callable[[program_lib.Program, str], Any] = leaf.Leaf, *,
               rewritings: Sequence[program_lib.Rewriting] = (), most_clients: int = 1,
               told: Callable[[str], None] = lambda reason: None):
    """Prepares for calls.

    Args:
      make: Returns a copy of a program on a device.
      rewritings: What is done to the graphs of all programs.
      most_clients: The largest number of clients that are computed in one call.
      told: Is called with the reason why clients of a program are computed one after the other all the same.
    """
    self._make, self._rewritings = make, tuple(rewritings)
    self.most_clients, self._told = most_clients, told
    self._programs: collections.OrderedDict[Any, tuple[program_lib.Program, dict[Any, Any]]] = collections.OrderedDict()
    self._digests: collections.OrderedDict[int, tuple[Any, bytes]] = collections.OrderedDict()
    self._lock = threading.Lock()

  def call(self, message: computation_pb2.TensorFlow, argument: Any, lane: Lane) -> Any:
    """Returns the result of a computation for an argument, both as `values` describes them; None: no argument.

    Raises:
      tf.errors.OpError: As in `leaf.Leaf`.
    """
    program, made = self._program(message)
    return self._alone(program, made, _flat(argument, lane), lane)

  def call_several(self, message: computation_pb2.TensorFlow, arguments: Sequence[Any], lane: Lane) -> list[Any]:
    """Returns what `call` returns for each argument; those whose tensors have the same shapes share a call."""
    program, made = self._program(message)
    flat = [_flat(argument, lane) for argument in arguments]
    # What takes no element does not depend on a client's examples, or takes them apart itself.
    if len(flat) < 2 or not program.elements or _NO_MORE in made:
      return [self._alone(program, made, one, lane) for one in flat]
    with tf.device(lane.device):
      flat = [_elements(program, one) for one in flat]
    found: list[Any] = [None] * len(flat)
    for places in _alike(flat):
      several = self._together(program, made, [flat[place] for place in places], lane) if len(places) > 1 else None
      if several is None:
        several = [self._alone(program, made, flat[place], lane) for place in places]
      for place, result in zip(places, several, strict=True):
        found[place] = result
    return found

  def _alone(self, program, made, arguments, lane):
    where = (lane.device, lane.number) if program.is_stateful else lane.device
    with self._lock:
      if where not in made:
        made[where] = self._make(program, lane.device)
    return values.pack(program.result, iter(made[where](arguments)))

  def _together(self, program, made, arguments, lane):
    """Returns the results of clients from one call; None: there is none, because it fails."""
    shared = tuple(all(one is parts[0] for one in parts) for parts in zip(*arguments, strict=True))
    where = (lane.device, lane.number, shared, len(arguments))
    with self._lock:
      if where not in made:
        made[where] = stacked_leaf.StackedLeaf(program, lane.device, shared, len(arguments))
    try:
      return [values.pack(program.result, iter(one)) for one in made[where].of_clients(arguments)]
    except (ValueError, tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError,
            tf.errors.UnimplementedError) as error:
      reason = said.by_tensorflow(error) if isinstance(error, tf.errors.OpError) else str(error)
      with self._lock:
        is_first = _NO_MORE not in made
        made[_NO_MORE] = None
        needless = [key for key, copy in made.items()
                    if isinstance(copy, stacked_leaf.StackedLeaf) and key[:2] == where[:2]]
        for key in needless:  # Those of other lanes may be at work.
          made.pop(key).close()
      if is_first:
        self._told(reason.splitlines()[0][:200])
      return None

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


def _flat(argument, lane):
  with tf.device(lane.device):
    return [] if argument is None else list(values.flatten(argument))


def _elements(program, tensors):
  """Returns arguments in which each sequence that a program takes the only element of is this element."""
  for position in program.elements:
    if not isinstance(tensors[position], leaf.Element):
      specs = program.specs(position, as_element=True)
      tensors[position] = leaf.Element(tf.raw_ops.DatasetToSingleElement(
          dataset=tensors[position], output_types=[spec.dtype for spec in specs],
          output_shapes=[spec.shape for spec in specs]))
  return tensors


def _alike(arguments) -> list[list[int]]:
  """Returns the places of the arguments, those together whose tensors have the same shapes."""
  groups: dict[Any, list[int]] = {}
  for place, tensors in enumerate(arguments):
    parts = [one.tensors if isinstance(one, leaf.Element) else (one,) for one in tensors]
    shapes = repr([[part.shape for part in many] for many in parts])
    is_apart = any(part.dtype == tf.variant for many in parts for part in many)  # A sequence of many elements.
    groups.setdefault(place if is_apart else shapes, []).append(place)
  return list(groups.values())
