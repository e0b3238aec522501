"""Puts numbers into a placeholder: a data set of the rows of one constant that is zero, as a coordinator sends it.

Not public API: the messages are TFF's and TensorFlow's own.
"""

import numpy as np
from tensorflow.core.framework import graph_pb2, types_pb2
from tensorflow_federated.proto.v0 import executor_pb2

_NUMBERS = {'tensor_content', 'uint32_val'}


def check(placeholder: executor_pb2.Value) -> None:
  """Raises ValueError if this is no data set of the rows of one such constant, or the constant is not zero."""
  _opened(placeholder)


def fill(placeholder: executor_pb2.Value, rows: np.ndarray) -> None:
  """Replaces the rows of a placeholder, in place.

  Args:
    rows: [m, n] uint32; the placeholder may have had another number of rows.

  Raises:
    ValueError: As `check`.
  """
  graph, tensor = _opened(placeholder)
  tensor.Clear()
  tensor.dtype = types_pb2.DT_UINT32
  for size in rows.shape:
    tensor.tensor_shape.dim.add(size=size)
  tensor.tensor_content = rows.astype('<u4').tobytes()
  placeholder.sequence.serialized_graph_def = graph.SerializeToString()


def _opened(placeholder):
  """Returns the graph, and the tensor of its constant."""
  if placeholder.WhichOneof('value') != 'sequence':
    raise ValueError('a placeholder for a value of the site\'s own is no data set.')
  graph = graph_pb2.GraphDef.FromString(placeholder.sequence.serialized_graph_def)
  constants = [node.attr['value'].tensor for node in graph.node if node.op == 'Const']
  if (len(constants) != 1 or graph.library.function or constants[0].dtype != types_pb2.DT_UINT32
      or [node.op for node in graph.node] != ['Const', 'TensorSliceDataset', '_Retval']):
    raise ValueError('a placeholder for a value of the site\'s own is more than the rows of one constant.')
  tensor = constants[0]
  for field, found in tensor.ListFields():
    if field.name in _NUMBERS and any(found) or field.name not in _NUMBERS | {'dtype', 'tensor_shape'}:
      raise ValueError('the coordinator sent a value that this site makes itself, such as the seeds of masks.')
  return graph, tensor
