"""Values between TFF's messages and the interpreter of this process.

The messages that are returned are those of `worker_binary`, to the byte: scalars and texts in lists, other tensors as
their content, structures without names, and federated values without the type of their members. So what a guard counts
does not depend on the executor behind it.

Not public API: the messages are TFF's own.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import array_pb2, computation_pb2, executor_pb2
from tensorflow_federated.python.core.impl.compiler import array
from tensorflow_federated.python.core.impl.types import array_shape, dtype_utils

from tff_vision.runtime.device import clients_values, interpreter
from tff_vision.runtime.device_executor import computations

structure = tff.structure
CLIENTS, SERVER = 'clients', 'server'


@dataclasses.dataclass(frozen=True)
class Unevaluated:
  """The value that a function without a parameter gives, such as that of a block."""
  function: interpreter.Function


def read(message: executor_pb2.Value, clients: int) -> Any:
  """Returns what a coordinator sends as the interpreter has it, or an `Unevaluated`.

  Args:
    message: A value, or a computation.
    clients: The number of clients of the executor.

  Raises:
    KeyError: A computation refers to a name that it does not bind.
    NotImplementedError: A part of it is of a kind that executors of TensorFlow do not have.
    ValueError: It is malformed.
    tf.errors.OpError: A sequence is no data set.
  """
  kind = message.WhichOneof('value')
  if kind == 'array':
    return tensor(message.array)
  if kind == 'struct':
    return structure.Struct.unnamed(*(read(element.value, clients) for element in message.struct.element))
  if kind == 'sequence':
    return _sequence(message.sequence)
  if kind == 'federated':
    return _placed(message.federated, clients)
  if kind == 'computation':
    return _function(message.computation)
  raise NotImplementedError(f'a value of kind {kind} cannot be created.')


def write(value: Any, clients: int) -> executor_pb2.Value:
  """Returns a value of the interpreter as a message.

  Raises:
    ValueError: It holds a computation.
  """
  message = executor_pb2.Value()
  _write(message, value, clients)
  return message


def tensor(message: array_pb2.Array) -> tf.Tensor:
  """Returns a tensor, on the processor.

  Raises:
    ValueError: Type, shape and content do not fit together.
  """
  dims = list(message.shape.dim)
  if message.shape.unknown_rank or any(size < 0 for size in dims):
    raise ValueError(f'a tensor has the shape {dims}, which is not known.')
  try:
    dtype = dtype_utils.from_proto(message.dtype)
    found = array.from_proto_content(message) if message.HasField('content') else array.from_proto(message)
    with tf.device('CPU:0'):
      return tf.constant(found, tf.string if dtype is np.str_ else tf.as_dtype(dtype), tf.TensorShape(dims))
  except (NotImplementedError, TypeError, ValueError) as error:
    raise ValueError(f'a tensor of type {message.dtype} and shape {dims} cannot be read: {error}') from None


def _placed(message, clients):
  where, members = message.type.placement.value.uri, message.value
  if where not in (CLIENTS, SERVER):
    raise ValueError(f'a value is placed at {where!r}, which is neither {CLIENTS} nor {SERVER}.')
  expected = 1 if where == SERVER or message.type.all_equal else clients
  if len(members) != expected:
    raise ValueError(f'a value at {where} has {len(members)} members, and {expected} are expected.')
  found = [read(member, clients) for member in members]
  if where == SERVER:
    return interpreter.OfServer(found[0])
  return clients_values.Same(found[0]) if message.type.all_equal else clients_values.Given(found)


def _function(message):
  own = computation_pb2.Computation()
  own.CopyFrom(message)
  for part in computations.checked(own):
    # `copies.Copies` tells graphs apart by what they hold. TFF's number would make two of one that is sent again.
    part.ClearField('cache_key')
  if computations.is_function(own):
    return interpreter.Function(own)
  return Unevaluated(interpreter.Function(computations.as_function(own)))


def _sequence(message):
  if message.WhichOneof('value') != 'serialized_graph_def':
    raise NotImplementedError('a sequence is not given as a graph.')
  with tf.device('CPU:0'):
    return tf.raw_ops.DatasetFromGraph(graph_def=message.serialized_graph_def)


def _write(message, value, clients):
  """Fills `message`, which may be part of a larger one."""
  if isinstance(value, structure.Struct):
    message.struct.SetInParent()
    for part in value:
      _write(message.struct.element.add().value, part, clients)
  elif isinstance(value, interpreter.OfServer):
    message.federated.type.placement.value.uri = SERVER
    message.federated.type.all_equal = True
    _write(message.federated.value.add(), value.value, clients)
  elif isinstance(value, (clients_values.Same, clients_values.Given)):
    message.federated.type.placement.value.uri = CLIENTS
    members = [value.value] * clients if isinstance(value, clients_values.Same) else value.values
    for member in members:
      _write(message.federated.value.add(), member, clients)
  elif isinstance(value, tf.Tensor) and value.dtype == tf.variant:
    with tf.device('CPU:0'):
      graph = tf.raw_ops.DatasetToGraphV2(input_dataset=value, external_state_policy=1, strip_device_assignment=True)
    message.sequence.serialized_graph_def = graph.numpy()
  elif isinstance(value, tf.Tensor):
    _write_tensor(message.array, value)
  else:
    raise ValueError(f'a {type(value).__name__} is no value that can be fetched.')


def _write_tensor(message, value):
  found = value.numpy()
  if value.dtype == tf.string:
    message.CopyFrom(array.to_proto(found, dtype_hint=np.str_))
  elif value.shape.rank == 0:
    message.CopyFrom(array.to_proto(found))
  else:
    message.dtype = dtype_utils.to_proto(found.dtype.type)
    message.shape.CopyFrom(array_shape.to_proto(found.shape))
    message.content = found.tobytes()
