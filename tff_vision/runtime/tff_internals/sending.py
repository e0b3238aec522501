"""Sends values to executors: large ones without copies, data sets without a TensorFlow call.

TFF makes a message for every part of a structure and copies it into the message of the whole structure. For 5 MB of
weights four levels deep in a server's state, this costs the driver 20 ms, in which no client computes. Here each part
is written directly into the final message.

TFF refuses to send more than 100 MB of a client's data set, which is too little for a silo of images. Here the limit is
the 2 GB of a protocol buffer. TFF also accepts only `tf.data` data sets; `data.one_element` provides the bytes
directly.

Not public API.
"""

import collections
import functools

import numpy as np
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2
from tensorflow_federated.python.common_libs import structure
from tensorflow_federated.python.core.impl.executors import value_serialization
from tensorflow_federated.python.core.impl.types import array_shape, dtype_utils, type_serialization

from tff_vision.data import one_element

_PROTOCOL_BUFFER_BYTES = 2 ** 31 - 1
_of_tff = value_serialization.serialize_value


def teach_tff() -> None:
  """Makes TFF in this process send values in this way, including data sets of up to 2 GB and `OneElement`s."""
  value_serialization._serialize_dataset.__defaults__ = (_PROTOCOL_BUFFER_BYTES,)
  value_serialization.serialize_value = serialize_value


def serialize_value(value: object, kind: tff.Type | None = None) -> tuple[executor_pb2.Value, tff.Type]:
  """Returns the same as TFF's function of this name: the message and the type of its value.

  Raises:
    TypeError: The value is not of this type.
  """
  if not isinstance(kind, (tff.StructType, tff.FederatedType, tff.SequenceType)):
    return _of_tff(value, kind)  # A computation, which has its own type, or a single tensor.
  message = executor_pb2.Value()
  _write(message, value, kind)
  return message, kind


def _write(message, value, kind):
  """Fills `message`, which is part of a larger one."""
  if isinstance(kind, tff.StructType):
    _write_structure(message, structure.from_container(value), kind)
  elif isinstance(kind, tff.FederatedType):
    _write_placed(message, value, kind)
  elif isinstance(value, one_element.OneElement):
    message.sequence.serialized_graph_def = value.graph()
    message.sequence.element_type.CopyFrom(_element_type(tuple(value.spec.items()), kind))
  elif isinstance(value, np.ndarray) and _is_plain(value, kind):
    message.array.dtype = dtype_utils.to_proto(kind.dtype.type)
    message.array.shape.CopyFrom(array_shape.to_proto(value.shape))
    message.array.content = value.tobytes()
  else:
    message.CopyFrom(_of_tff(value, kind)[0])


def _write_structure(message, value, kind):
  if len(value) != len(kind):
    raise TypeError(f'A structure of {len(value)} parts was given for one of {len(kind)}: {kind}.')
  message.struct.SetInParent()
  names_and_kinds = structure.iter_elements(kind)
  for part, (name, part_kind) in zip(value, names_and_kinds, strict=True):
    element = message.struct.element.add()
    if name:
      element.name = name
    _write(element.value, part, part_kind)


def _write_placed(message, value, kind):
  if not kind.all_equal and not isinstance(value, list):
    raise TypeError(f'Values at {kind.placement} are given as a list, found {type(value).__name__}.')
  message.federated.type.CopyFrom(type_serialization.serialize_type(kind).federated)
  for member in [value] if kind.all_equal else value:
    _write(message.federated.value.add(), member, kind.member)


def _is_plain(value, kind):
  """Returns whether the array can be sent as its raw bytes."""
  return (isinstance(kind, tff.TensorType) and value.dtype == kind.dtype and value.dtype.kind in 'biufc'
          and value.ndim > 0 and kind.shape is not None and len(kind.shape) == value.ndim
          and all(size in (None, found) for size, found in zip(kind.shape, value.shape, strict=True)))


@functools.lru_cache(64)
def _element_type(spec, type_spec):
  """Returns the serialised type of elements of this kind.

  Raises:
    TypeError: The computation expects another element type.
  """
  found = tff.SequenceType(tff.types.tensorflow_to_type(collections.OrderedDict(spec)))
  type_spec.check_assignable_from(found)
  return type_serialization.serialize_type(found.element)
