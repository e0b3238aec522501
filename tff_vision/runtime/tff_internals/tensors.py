"""The whole numbers in a value, as arrays.

Not public API: the messages are TFF's own.
"""

import math
from collections.abc import Iterator

import numpy as np
from tensorflow_federated.proto.v0 import array_pb2, data_type_pb2, executor_pb2

_KINDS = {data_type_pb2.DT_INT32: ('<i4', 'int32_list'), data_type_pb2.DT_INT64: ('<i8', 'int64_list')}


def whole_numbers(value: executor_pb2.Value) -> Iterator[np.ndarray]:
  """Yields the arrays of int32 and int64 in a value, data sets left out, in order.

  Raises:
    ValueError: An array is written in two ways, or has another size than it says: two readers could differ.
  """
  kind = value.WhichOneof('value')
  if kind == 'struct':
    for element in value.struct.element:
      yield from whole_numbers(element.value)
  elif kind == 'federated':
    for member in value.federated.value:
      yield from whole_numbers(member)
  elif kind == 'array' and value.array.dtype in _KINDS:
    yield _array(value.array)


def _array(array: array_pb2.Array) -> np.ndarray:
  kind, field = _KINDS[array.dtype]
  listed = getattr(array, field).value
  if len(array.content) and len(listed):
    raise ValueError('an array is written in two ways.')
  found = np.frombuffer(array.content, kind) if array.content else np.array(listed, kind)
  shape = tuple(array.shape.dim)
  if array.shape.unknown_rank or min(shape, default=1) < 0 or math.prod(shape) != found.size:
    raise ValueError('an array has another size than it says.')
  return found.reshape(shape)
