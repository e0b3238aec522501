"""What may stand in a computation that a coordinator sends.

Not public API: the messages are TFF's own.
"""

from collections.abc import Iterator
from typing import Any

from tensorflow_federated.proto.v0 import computation_pb2

from tff_vision.runtime.device import interpreter


def is_function(message: computation_pb2.Computation) -> bool:
  """Returns whether a computation is written as a function."""
  return message.WhichOneof('computation') in ('tensorflow', 'lambda', 'intrinsic')


def as_function(message: computation_pb2.Computation) -> computation_pb2.Computation:
  """Returns a lambda without a parameter that returns a computation's value."""
  found = computation_pb2.Computation()
  getattr(found, 'lambda').result.CopyFrom(message)
  return found


def checked(message: computation_pb2.Computation) -> Iterator[computation_pb2.TensorFlow]:
  """Yields the TensorFlow computations in a computation, which is looked through meanwhile.

  Raises:
    KeyError: It refers to a name that it does not bind.
    NotImplementedError: It has a part that is not run here, such as XLA or an unknown operator.
    ValueError: It has a part without content.
  """
  yield from _checked(message, frozenset())


def _checked(message: Any, names: frozenset[str]) -> Iterator[computation_pb2.TensorFlow]:
  kind = message.WhichOneof('computation')
  if kind is None:
    raise ValueError('a computation is empty.')
  part = getattr(message, kind)
  if kind == 'tensorflow':
    yield part
  elif kind == 'intrinsic':
    if part.uri not in interpreter.OPERATORS:
      raise NotImplementedError(f'the operator {part.uri!r} is not supported.')
  elif kind == 'reference':
    if part.name not in names:
      raise KeyError(f'a computation refers to {part.name!r}, which it does not define.')
  elif kind == 'lambda':
    yield from _checked(part.result, names | {part.parameter_name})
  elif kind == 'call':
    yield from _checked(part.function, names)
    if part.HasField('argument'):
      yield from _checked(part.argument, names)
  elif kind == 'struct':
    for element in part.element:
      yield from _checked(element.value, names)
  elif kind == 'selection':
    yield from _checked(part.source, names)
  elif kind == 'block':
    for local in part.local:
      yield from _checked(local.value, names)
      names |= {local.name}
    yield from _checked(part.result, names)
  elif kind != 'literal':
    raise NotImplementedError(f'a computation of kind {kind} is not supported.')
