"""Names in serialized TensorFlow computations, and walks over their graphs.

Not public API: the messages are TFF's own.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from tensorflow.core.framework import graph_pb2
from tensorflow_federated.proto.v0 import computation_pb2


def node_of(tensor: str) -> str:
  """Returns the node of `name`, `name:0`, `name:output:0` or `^name`."""
  return tensor.removeprefix('^').partition(':')[0]


def all_nodes(graph: graph_pb2.GraphDef) -> Iterator[Any]:
  """Yields the nodes of a graph, and then those of its functions."""
  return itertools.chain(graph.node, *(function.node_def for function in graph.library.function))


def called(node: Any) -> Iterator[Any]:
  """Yields the references to functions in the attributes of a node; each can be changed."""
  for attribute in node.attr.values():
    if attribute.HasField('func'):
      yield attribute.func
    yield from attribute.list.func


def tensors_of(binding: computation_pb2.TensorFlow.Binding) -> Iterator[str]:
  """Yields the names of the tensors of a binding, in order."""
  kind = binding.WhichOneof('binding')
  if kind == 'tensor':
    yield binding.tensor.tensor_name
  elif kind == 'sequence':
    yield getattr(binding.sequence, binding.sequence.WhichOneof('binding'))
  elif kind == 'struct':
    for element in binding.struct.element:
      yield from tensors_of(element)


def is_edge_of_order(given: str) -> bool:
  """Returns whether an input of a node only says what runs before it."""
  return given.startswith('^')


def data_of(node: Any) -> Iterator[str]:
  """Yields the tensors that a node takes."""
  return (given for given in node.input if not is_edge_of_order(given))


def parts_of(tensor: str) -> tuple[str, int]:
  """Returns the node of `name` or `name:1`, and which of its outputs it is."""
  node, _, output = tensor.partition(':')
  return node, int(output or 0)
