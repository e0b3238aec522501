"""Names in serialized TensorFlow computations.

Not public API: the messages are TFF's own.
"""

from collections.abc import Iterator

from tensorflow_federated.proto.v0 import computation_pb2


def node_of(tensor: str) -> str:
  """Returns the node of `name`, `name:0`, `name:output:0` or `^name`."""
  return tensor.removeprefix('^').partition(':')[0]


def tensors_of(binding: computation_pb2.TensorFlow.Binding) -> Iterator[str]:
  """Yields the names of the tensors of a binding, in order."""
  kind = binding.WhichOneof('binding')
  if kind == 'tensor':
    yield binding.tensor.tensor_name
  elif kind == 'sequence':
    yield getattr(binding.sequence, binding.sequence.WhichOneof('binding'))
  elif kind == 'struct':
    for element in binding.struct.element:
      yield from tensors_of(element)
