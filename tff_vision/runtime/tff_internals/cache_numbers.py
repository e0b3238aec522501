"""The numbers under which `worker_binary` keeps TensorFlow computations.

TFF draws a number for each computation that it makes, and an executor that knows a number does not look at the graph
that comes with it: it runs the graph that came first. So two different graphs under one number are a way to have one
called in place of the other.

Not public API: the messages are TFF's own.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

from tensorflow_federated.proto.v0 import computation_pb2


def numbered(message: Any) -> Iterator[tuple[int, bytes]]:
  """Yields the number of each TensorFlow computation in a computation that has one, and the SHA-256 of the rest."""
  kind = message.WhichOneof('computation')
  if kind is None:
    return
  part = getattr(message, kind)
  if kind == 'tensorflow':
    if part.cache_key.id:
      rest = computation_pb2.TensorFlow()
      rest.CopyFrom(part)
      rest.ClearField('cache_key')
      yield part.cache_key.id, hashlib.sha256(rest.SerializeToString(deterministic=True)).digest()
  elif kind == 'lambda':
    yield from numbered(part.result)
  elif kind == 'call':
    yield from numbered(part.function)
    yield from numbered(part.argument)
  elif kind == 'struct':
    for element in part.element:
      yield from numbered(element.value)
  elif kind == 'selection':
    yield from numbered(part.source)
  elif kind == 'block':
    for local in part.local:
      yield from numbered(local.value)
    yield from numbered(part.result)
