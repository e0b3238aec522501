"""Shapes and types in serialized graphs.

Not public API: the messages are TensorFlow's own.
"""

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tff_vision.runtime.tff_internals import graph_names


class Tensors:
  """Shapes and types of the tensors of a graph, as far as they are known before it runs."""

  def __init__(self, graph: graph_pb2.GraphDef):
    with tf.Graph().as_default() as self._graph:
      tf.graph_util.import_graph_def(graph, name='')

  def shape(self, tensor: str) -> tf.TensorShape:
    return self._tensor(tensor).shape

  def kind(self, tensor: str) -> tf.DType:
    return self._tensor(tensor).dtype

  def is_handle(self, tensor: str) -> bool:
    """Returns whether a tensor, or the first result of a node, stands for a variable."""
    node, output = graph_names.parts_of(tensor)
    found = self._graph.get_operation_by_name(node).outputs[output:]
    return bool(found) and found[0].dtype == tf.resource

  def _tensor(self, tensor):
    node, output = graph_names.parts_of(tensor)
    return self._graph.get_operation_by_name(node).outputs[output]
