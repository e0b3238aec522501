"""Sums over clients, added up in place.

In the map-reduce form of a round, what clients send is usually added tensor by tensor. As a TensorFlow computation this
makes a new accumulator of the model's size for every client. A `Sum` keeps one.
"""

import threading
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tff_vision.runtime.device import program as program_lib
from tff_vision.runtime.tff_internals import graph_names

_ADDING = frozenset({'Add', 'AddV2'})
_TYPES = frozenset({tf.float32, tf.float64, tf.int64})  # Every device adds these in place.


def is_sum(program: program_lib.Program) -> bool:
  """Returns whether a program of (accumulator, value) returns accumulator + value, tensor by tensor."""
  count = len(program.results)
  if len(program.parameters) != 2 * count or program.is_stateful:
    return False
  kinds = [program.specs(position)[0] for position in range(2 * count)]
  if not all(kind.shape.is_fully_defined() and kind.dtype in _TYPES for kind in kinds):
    return False
  nodes = {node.name: node for node in program.part(program.results, '').node}
  places = {graph_names.node_of(name): position for position, name in enumerate(program.parameters)}
  return all(kinds[position].shape == kinds[count + position].shape
             and _added(nodes, places, name) == {position, count + position}
             for position, name in enumerate(program.results))


def _added(nodes, places, result):
  """Returns the positions of the parameters that `result` is the sum of; None in it: something else."""
  node = _source(nodes, result)
  if node.op not in _ADDING or any(map(graph_names.is_edge_of_order, node.input)):
    return {None}
  return {places.get(_source(nodes, given).name) for given in node.input}


def _source(nodes, tensor):
  node = nodes[graph_names.node_of(tensor)]
  while node.op == 'Identity' and len(node.input) == 1:
    node = nodes[graph_names.node_of(node.input[0])]
  return node


class Sum:
  """The accumulator of one program on one device; for one aggregation at a time."""

  def __init__(self, program: program_lib.Program, device: str):
    """Args: `program` is one of those that `is_sum` accepts."""
    self._device = device
    self._kinds = [program.specs(position)[0] for position in range(len(program.results))]
    self._variables: list[tf.Variable] = []
    self._add: Any = None
    self._lock = threading.Lock()

  def begin(self, zero: Sequence[tf.Tensor]) -> None:
    """Sets the accumulator."""
    with self._lock, tf.device(self._device):
      if not self._variables:
        self._variables = [tf.Variable(number, trainable=False) for number in zero]
        # A `tf.function` would look at the type of each tensor again for each client, which takes longer than to add.
        self._add = tf.compat.v1.wrap_function(self._added, [
            tf.TensorSpec(kind.shape, kind.dtype) for kind in self._kinds])
      else:
        for variable, number in zip(self._variables, zero, strict=True):
          variable.assign(number)

  def add(self, sent: Sequence[tf.Tensor]) -> None:
    """Adds what a client sent."""
    with tf.device(self._device):
      self._add(*sent)

  def end(self) -> list[tf.Tensor]:
    """Returns the sum."""
    with tf.device(self._device):
      return [variable.read_value() for variable in self._variables]

  def close(self) -> None:
    """Frees the accumulator."""
    self._variables, self._add = [], None

  def _added(self, *sent):
    added = [variable.assign_add(number, read_value=False)
             for variable, number in zip(self._variables, sent, strict=True)]
    with tf.control_dependencies(added):
      return [tf.constant(True)]
