"""Client data sets of any size: TFF refuses to send more than 100 MB of one, which a silo of images soon exceeds.

Not public API. What remains is the 2 GB that a protocol buffer may hold.
"""

from tensorflow_federated.python.core.impl.executors import value_serialization

_PROTOCOL_BUFFER_BYTES = 2 ** 31 - 1


def lift_size_limit() -> None:
  """Lets data sets of up to 2 GB be sent to executors, in this process."""
  value_serialization._serialize_dataset.__defaults__ = (_PROTOCOL_BUFFER_BYTES,)
