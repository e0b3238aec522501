"""Serialized TensorFlow computations, and what parts of their graphs can be called with.

Not public API: the messages are TFF's and TensorFlow's own.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, types_pb2
from tensorflow_federated.proto.v0 import computation_pb2

from tff_vision.runtime.device import overwritten
from tff_vision.runtime.tff_internals import graph_names

_ONE_ELEMENT = 'DatasetToSingleElement'
Rewriting = Callable[[graph_pb2.GraphDef], None]  # Changes a graph in place.


class Program:
  """A serialized TensorFlow computation, unpacked once for all its copies.

  Attributes:
    parameters: The names of the tensors that are given, in order; `results` those that are returned.
    result: How the results are put together.
    is_stateful: Whether calls at the same time need copies of their own, because the graph has variables or tables.
  """

  def __init__(self, message: computation_pb2.TensorFlow, rewritings: Sequence[Rewriting] = ()):
    """Unpacks a computation.

    Args:
      message: The part `tensorflow` of a TFF computation.
      rewritings: What is done to the graph first, in this order.

    Raises:
      ValueError: It is no TensorFlow graph.
    """
    self._graph = graph_pb2.GraphDef()
    if not message.graph_def.Unpack(self._graph):
      raise ValueError('a computation holds something that is no TensorFlow graph.')
    for rewrite in rewritings:
      rewrite(self._graph)
    for node in graph_names.all_nodes(self._graph):
      node.attr.pop('_class', None)  # A copy is on one device, and parts of the graph may lack what is named here.
    self.parameters = list(graph_names.tensors_of(message.parameter)) if message.HasField('parameter') else []
    self.results = list(graph_names.tensors_of(message.result))
    self.result = message.result
    _wait_for_none(self._graph, {graph_names.node_of(name) for name in self.parameters})
    for name in self._sequences.values():
      _take_element_once(self._graph, graph_names.node_of(name))
    self.token = message.session_token_tensor_name
    self.is_stateful = any(_is_shared(node) for node in graph_names.all_nodes(self._graph))
    self.initializers = self._initializers(message.initialize_op)

  def part(self, tensors: Sequence[str], tag: str, elements: Sequence[int] = ()) -> graph_pb2.GraphDef:
    """Returns the graph of what these tensors need.

    Args:
      tensors: Names of tensors or nodes.
      tag: What follows the names of variables and tables.
      elements: Positions of parameters; in place of the node that takes the element of a sequence, the graph has a
        placeholder for each tensor of the element.
    """
    graph = self._graph
    if elements:
      graph = graph_pb2.GraphDef()
      graph.CopyFrom(self._graph)
      for position in elements:
        _replace_by_placeholders(graph, self.elements[position])
    found = overwritten.above(graph, tensors)
    for node in graph_names.all_nodes(found):
      if _is_shared(node):
        node.attr['shared_name'].s = (_shared_name(node) + tag).encode()
    return found

  @functools.cached_property
  def variables(self) -> list[tuple[str, int]]:
    """The shared names of the variables, without a tag, and their types."""
    return sorted({(_shared_name(node), node.attr['dtype'].type)
                   for node in graph_names.all_nodes(self._graph) if node.op == 'VarHandleOp'})

  @functools.cached_property
  def elements(self) -> dict[int, str]:
    """Position of a sequence among the parameters -> its only user, if this is a node that takes its only element."""
    whole, found = self.part(self._everything, ''), {}
    for position, name in self._sequences.items():
      users = list(_last_users(whole, graph_names.node_of(name)))
      if [user.op for user in users] == [_ONE_ELEMENT]:
        found[position] = users[0].name
    return found

  def specs(self, position: int, *, as_element: bool = False) -> list[tf.TensorSpec]:
    """Returns the types of the tensors that are given for a parameter."""
    if as_element:
      attributes = self._node(self.elements[position]).attr
      return [tf.TensorSpec(tf.TensorShape(shape), kind) for shape, kind in zip(
          attributes['output_shapes'].list.shape, attributes['output_types'].list.type, strict=True)]
    attributes = self._node(graph_names.node_of(self.parameters[position])).attr
    is_sequence = attributes['dtype'].type == types_pb2.DT_VARIANT
    return [tf.TensorSpec([] if is_sequence else tf.TensorShape(attributes['shape'].shape), attributes['dtype'].type)]

  def names(self, position: int, *, as_element: bool = False) -> list[str]:
    """Returns the names of the tensors that are given for a parameter."""
    if as_element:
      count = len(self._node(self.elements[position]).attr['output_types'].list.type)
      return [placeholder(self.elements[position], output) for output in range(count)]
    return [self.parameters[position]]

  @functools.cached_property
  def _sequences(self) -> dict[int, str]:
    """Position of each sequence among the parameters -> its name."""
    kinds = {node.name: node.attr['dtype'].type for node in self._graph.node if node.op == 'Placeholder'}
    return {position: name for position, name in enumerate(self.parameters)
            if kinds.get(graph_names.node_of(name)) == types_pb2.DT_VARIANT}

  @property
  def _everything(self):
    return [*self.results, *self.initializers]

  def _node(self, name):
    return next(node for node in self._graph.node if node.name == name)

  def _initializers(self, operation):
    """Returns the operations that must run before each call."""
    if not operation:
      return []
    nodes = {node.name: node for node in self._graph.node}
    found, seen, waiting = [], set(), [graph_names.node_of(operation)]
    while waiting:
      node = nodes[waiting.pop()]
      if node.name in seen:
        continue
      seen.add(node.name)
      if node.op == 'NoOp':
        waiting.extend(graph_names.node_of(given) for given in node.input)
      else:
        found.append(node)
    vain = overwritten.variables(self._graph, [graph_names.node_of(name) for name in self.results])
    return sorted(node.name for node in found
                  if not (node.op == 'AssignVariableOp' and graph_names.node_of(node.input[0]) in vain))


def _is_shared(node):
  """Returns whether a node names something that lives longer than a call."""
  return node.op == 'VarHandleOp' or 'shared_name' in node.attr and bool(
      node.attr['shared_name'].s or node.attr['use_node_name_sharing'].b)


def _shared_name(node):
  return node.attr['shared_name'].s.decode() or node.name


def placeholder(node: str, output: int) -> str:
  """Returns the tensor that stands for an output of a node that takes the element of a sequence."""
  return f'{node}/element_{output}:0'


def _replace_by_placeholders(graph, name):
  """Replaces a node by a placeholder for each of its outputs."""
  old = next(node for node in graph.node if node.name == name)
  kinds = list(old.attr['output_types'].list.type)
  graph.node.remove(old)
  _wait_for_none(graph, {name})
  for node in graph.node:
    for place, given in enumerate(node.input):
      if graph_names.node_of(given) == name:
        node.input[place] = graph_names.node_of(placeholder(name, graph_names.parts_of(given)[1]))
  for output, kind in enumerate(kinds):
    made = graph.node.add(name=graph_names.node_of(placeholder(name, output)), op='Placeholder')
    made.attr['dtype'].type = kind
    made.attr['shape'].shape.unknown_rank = True


def _take_element_once(graph, name):
  """Leaves one of the nodes that take the only element of the same sequence, if nothing else uses it."""
  users = {user.name: user for user in _last_users(graph, name)}
  if len(users) < 2 or {user.op for user in users.values()} != {_ONE_ELEMENT}:
    return
  kept, *others = users
  for node in graph.node:
    for place, given in enumerate(node.input):
      if graph_names.node_of(given) in others:
        node.input[place] = given.replace(graph_names.node_of(given), kept, 1)
  for other in others:
    graph.node.remove(users[other])


def _wait_for_none(graph, names):
  """Removes the control edges from these nodes, which are given and not computed."""
  for node in graph.node:
    kept = [given for given in node.input
            if not (graph_names.is_edge_of_order(given) and graph_names.node_of(given) in names)]
    if len(kept) < len(node.input):
      del node.input[:]
      node.input.extend(kept)


def _last_users(graph, name) -> Iterator[Any]:
  """Yields the nodes that use the output of a node, also through nodes that only pass it on."""
  waiting = [name]
  while waiting:
    source = waiting.pop()
    for node in graph.node:
      if any(graph_names.node_of(given) == source for given in graph_names.data_of(node)):
        if node.op == 'Identity':
          waiting.append(node.name)
        else:
          yield node
