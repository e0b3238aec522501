"""Client work that keeps state: how the state of a client enters and leaves a TFF computation.

A keeping client work is a `tff.learning.templates.ClientWorkProcess` of this form. Its data is a pair (data, state),
the state as a sequence of one element, because TFF lets only sequences in here. The update of its result is a
structure (sent, kept): `sent` goes to the aggregator, `kept` stays CLIENTS-placed and comes back in the next round.
Layers that leave data and update as they are may be put around it.
"""

import collections
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

ClientWork = tff.learning.templates.ClientWorkProcess
_PARTS = ('sent', 'kept')


def data_type(data: tff.Type, kept: tff.Type) -> tff.StructType:
  """Returns the type of a keeping client work's data, unplaced."""
  return tff.types.to_type((data, tff.SequenceType(kept)))


def state_of(sequence: tf.data.Dataset) -> Any:
  """Returns the state in a client's data; in a client's computation."""
  return tf.data.Dataset.get_single_element(sequence)


def update(sent: Any, kept: Any) -> Any:
  """Returns the update of a keeping client work's result; in a client's computation."""
  return collections.OrderedDict(zip(_PARTS, (sent, kept), strict=True))


def keeps(client_work: ClientWork) -> bool:
  """Returns whether a client work has the form above."""
  found = client_work.next.type_signature.result.result.member.update
  return isinstance(found, tff.StructType) and tff.structure.name_list(found) == list(_PARTS)


def sent_type(client_work: ClientWork) -> tff.Type:
  """Returns the type of what the aggregator is given; the whole update of a work that keeps nothing."""
  found = client_work.next.type_signature.result.result.member.update
  return found.sent if keeps(client_work) else found


def sent_length(client_work: ClientWork) -> int:
  """Returns how many numbers the aggregator is given of a client."""
  return sum(spec.shape.num_elements()
             for spec in tf.nest.flatten(tff.types.type_to_tf_tensor_specs(sent_type(client_work))))


def initial_state(client_work: ClientWork) -> Any:
  """Returns zeros in the form of what a keeping client work keeps, as arrays."""
  kept = client_work.next.type_signature.result.result.member.update.kept
  return tf.nest.map_structure(lambda spec: np.zeros(spec.shape, spec.dtype.as_numpy_dtype),
                               tff.types.type_to_tf_tensor_specs(kept))
