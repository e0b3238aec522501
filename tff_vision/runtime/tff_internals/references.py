"""How often a computation refers to a name.

Not public API: the messages are TFF's own.
"""

from tensorflow_federated.proto.v0 import computation_pb2


def count(message: computation_pb2.Computation, name: str) -> int:
  """Returns how often a computation refers to a name."""
  kind = message.WhichOneof('computation')
  part = getattr(message, kind)
  if kind == 'reference':
    return int(part.name == name)
  if kind == 'lambda':
    return 0 if part.parameter_name == name else count(part.result, name)
  if kind == 'selection':
    return count(part.source, name)
  if kind == 'call':
    return count(part.function, name) + (count(part.argument, name) if part.HasField('argument') else 0)
  if kind == 'struct':
    return sum(count(element.value, name) for element in part.element)
  if kind == 'block':
    found = 0
    for one in part.local:
      found += count(one.value, name)
      if one.name == name:
        return found
    return found + count(part.result, name)
  return 0
