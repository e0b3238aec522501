"""How clients' data sets reach executors: of any size, and without one TensorFlow call for each of them.

TFF refuses to send more than 100 MB of one, which a silo of images soon exceeds. What remains is the 2 GB that a
protocol buffer may hold. And it takes nothing but `tf.data` data sets: `data.one_element` has the bytes right away.

Not public API.
"""

import collections
import functools

import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2
from tensorflow_federated.python.core.impl.executors import value_serialization
from tensorflow_federated.python.core.impl.types import type_serialization

from tff_vision.data import one_element

_PROTOCOL_BUFFER_BYTES = 2 ** 31 - 1
_of_tensorflow = value_serialization._serialize_sequence_value


def teach_tff() -> None:
  """Lets data sets of up to 2 GB, and `OneElement`s, be sent to executors, in this process."""
  value_serialization._serialize_dataset.__defaults__ = (_PROTOCOL_BUFFER_BYTES,)
  value_serialization._serialize_sequence_value = _serialize_sequence_value


def _serialize_sequence_value(value, type_spec):
  if not isinstance(value, one_element.OneElement):
    return _of_tensorflow(value, type_spec)
  made = executor_pb2.Value()
  made.sequence.serialized_graph_def = value.graph()
  made.sequence.element_type.CopyFrom(_element_type(tuple(value.spec.items()), type_spec))
  return made, type_spec


@functools.lru_cache(64)
def _element_type(spec, type_spec):
  """Returns the serialised type of elements of this kind.

  Raises:
    TypeError: A computation takes another one.
  """
  found = tff.SequenceType(tff.types.tensorflow_to_type(collections.OrderedDict(spec)))
  type_spec.check_assignable_from(found)
  return type_serialization.serialize_type(found.element)
