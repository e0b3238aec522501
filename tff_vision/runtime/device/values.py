"""Values between Python and the computations of this process.

Inside, a structure is a `Struct`, a tensor is a `tf.Tensor`, and a sequence is what TFF was given, or a variant tensor.
Arrays that are returned are read-only views of tensors.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

# Not public API; TFF sends values with these functions.
from tensorflow_federated.proto.v0 import array_pb2
from tensorflow_federated.python.core.impl.compiler import array
from tensorflow_federated.python.core.impl.types import dtype_utils, type_conversions
from tensorflow_federated.python.core.impl.utils import tensorflow_utils

from tff_vision.data import one_element
from tff_vision.runtime.device import leaf

structure = tff.structure


def embed(value: Any, kind: tff.Type) -> Any:
  """Returns a value without placements as the computations take it.

  Raises:
    TypeError: The value is not of this type.
  """
  if isinstance(kind, tff.StructType):
    return embed_parts(value, kind, embed)
  if isinstance(kind, tff.SequenceType):
    return _sequence(value, kind)
  if not isinstance(kind, tff.TensorType):
    raise TypeError(f'A value of type {kind} cannot be given to a computation.')
  return _tensor(value, kind)


def fetch(value: Any, kind: tff.Type) -> Any:
  """Returns a value without placements as Python takes it: read-only arrays, and numpy's scalars."""
  if isinstance(kind, tff.StructType):
    return fetch_parts(value, kind, fetch)
  if isinstance(kind, tff.SequenceType):
    return _dataset(value, kind)
  if value.shape.rank == 0 or value.dtype.is_bool or value.dtype not in _VIEWED:
    return value.numpy()
  return np.asarray(memoryview(value))


def embed_parts(value: Any, kind: tff.StructType, embed: Callable[[Any, tff.Type], Any]) -> structure.Struct:
  """Returns a structure that Python has, with `embed` of each part.

  Raises:
    TypeError: It has another number of parts than the type.
  """
  parts = structure.from_container(value)
  if len(parts) != len(kind):
    raise TypeError(f'A structure of {len(parts)} parts was given for one of {len(kind)}: {kind}.')
  return fetch_parts(parts, kind, embed)


def fetch_parts(value: structure.Struct, kind: tff.StructType, fetch: Callable[[Any, tff.Type], Any]
                ) -> structure.Struct:
  """Returns a structure with `fetch` of each part."""
  return structure.Struct([(name, fetch(part, part_kind)) for part, (name, part_kind)
                           in zip(value, structure.iter_elements(kind), strict=True)])


def literal(message: array_pb2.Array) -> tf.Tensor:
  """Returns a number, or an array, that is written in a computation."""
  with tf.device('CPU:0'):
    return tf.constant(array.from_proto(message), tf.as_dtype(dtype_utils.from_proto(message.dtype)))


def flatten(value: Any) -> Iterator[Any]:
  """Yields the leaves of a value, in order, as a TensorFlow computation takes them."""
  if isinstance(value, structure.Struct):
    for part in value:
      yield from flatten(part)
  elif isinstance(value, one_element.OneElement):
    # tf.data orders the parts of a dictionary by name.
    yield leaf.Element([tf.constant(value.values[name]) for name in sorted(value.spec)])
  elif isinstance(value, tf.data.Dataset):
    with tf.device('CPU:0'):
      variant = tf.data.experimental.to_variant(value)
    yield variant
  else:
    yield value


def pack(binding: Any, tensors: Iterator[tf.Tensor]) -> Any:
  """Returns the results of a TensorFlow computation as a value."""
  if binding.WhichOneof('binding') == 'struct':
    return structure.Struct.unnamed(*(pack(element, tensors) for element in binding.struct.element))
  return next(tensors)


def moved(value: Any, copy: Callable[[tf.Tensor], tf.Tensor]) -> Any:
  """Returns a value with `copy` applied to its numbers."""
  if isinstance(value, structure.Struct):
    return structure.Struct([(name, moved(part, copy)) for name, part in structure.iter_elements(value)])
  if isinstance(value, tf.Tensor) and value.dtype not in (tf.variant, tf.resource):
    return copy(value)
  return value


# Types whose tensors numpy can look into without a copy.
_VIEWED = frozenset({tf.float32, tf.float64, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32,
                     tf.uint64})


def _tensor(value, kind):
  dtype = tf.string if kind.dtype.type is np.str_ else tf.as_dtype(kind.dtype)
  with tf.device('CPU:0'):
    found = tf.constant(value, dtype)
  if not tf.TensorShape(kind.shape).is_compatible_with(found.shape):
    raise TypeError(f'A tensor of shape {found.shape} was given for {kind}.')
  return found


def _sequence(value, kind):
  if isinstance(value, list):
    value = tensorflow_utils.make_data_set_from_elements(None, value, kind.element)
  if isinstance(value, one_element.OneElement):
    spec = tff.types.tensorflow_to_type(dict(value.spec))
  elif isinstance(value, tf.data.Dataset):
    spec = tff.types.tensorflow_to_type(value.element_spec)
  else:
    raise TypeError(f'{type(value).__name__} was given for {kind}.')
  kind.check_assignable_from(tff.SequenceType(spec))
  return value


def _dataset(value, kind):
  if isinstance(value, tf.Tensor):
    spec = type_conversions.type_to_tf_structure(kind.element)
    value = tf.data.experimental.from_variant(value, spec)
  return value
