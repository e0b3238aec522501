"""Client work that keeps state: how the state of a client enters and leaves a TFF computation.

Client work that keeps state is a `tff.learning.templates.ClientWorkProcess` of this form. Its data is a pair (data,
state); the state is a sequence of one element, because TFF accepts only sequences here. The update of its result is a
structure (sent, kept): `sent` goes to the aggregator, `kept` stays CLIENTS-placed and comes back in the next round.
It may be wrapped in layers that leave data and update unchanged.
"""

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

ClientWork = tff.learning.templates.ClientWorkProcess
_PARTS = ('sent', 'kept')


def data_type(data: tff.Type, kept: tff.Type) -> tff.StructType:
  """Returns the data type of client work that keeps state, unplaced."""
  return tff.types.to_type((data, tff.SequenceType(kept)))


def state_of(sequence: tf.data.Dataset) -> Any:
  """Returns the one element of a sequence, such as the state in a client's data; in a client's computation."""
  return tf.data.Dataset.get_single_element(sequence)


def update(sent: Any, kept: Any) -> Any:
  """Returns the update in the result of client work that keeps state; in a client's computation."""
  return collections.OrderedDict(zip(_PARTS, (sent, kept), strict=True))


def keeps(client_work: ClientWork) -> bool:
  """Returns whether a client work has the form above."""
  found = client_work.next.type_signature.result.result.member.update
  return isinstance(found, tff.StructType) and tff.structure.name_list(found) == list(_PARTS)


def sent_type(client_work: ClientWork) -> tff.Type:
  """Returns the type of the aggregator's input; for work that keeps no state, the whole update."""
  found = client_work.next.type_signature.result.result.member.update
  return found.sent if keeps(client_work) else found


def sent_length(client_work: ClientWork) -> int:
  """Returns the count of numbers that the aggregator receives from a client."""
  return sum(spec.shape.num_elements()
             for spec in tf.nest.flatten(tff.types.type_to_tf_tensor_specs(sent_type(client_work))))


def marked(client_work: ClientWork, mark_type: tff.SequenceType, change: Callable[[Any, Any], Any]) -> ClientWork:
  """Returns the same client work on pairs (data, mark), in which `change` replaces what a client sends.

  The state of client work that keeps state does not change; its data are ((data, mark), state). Runs on clients.

  Args:
    mark_type: A sequence of one element, because TFF accepts only sequences here.
    change: Takes what a client would send and the element of its mark; returns what it sends instead.
  """
  keeping = keeps(client_work)
  state_type, weights_type, data_type = client_work.next.type_signature.parameter
  pair_type = tff.types.to_type((data_type.member[0] if keeping else data_type.member, mark_type))
  given_type = (pair_type, data_type.member[1]) if keeping else pair_type
  result_type = client_work.next.type_signature.result.result.member

  @tff.tensorflow.computation(result_type, mark_type)
  def exchange(result, mark):
    sent = change(result.update['sent'] if keeping else result.update, state_of(mark))
    return tff.learning.templates.ClientResult(
        update(sent, result.update['kept']) if keeping else sent, result.update_weight)

  @tff.federated_computation(state_type, weights_type, tff.FederatedType(given_type, tff.CLIENTS))
  def next_fn(state, weights, given):
    pair = given[0] if keeping else given
    own = tff.federated_zip((pair[0], given[1])) if keeping else pair[0]
    output = client_work.next(state, weights, own)
    result = tff.federated_map(exchange, (output.result, pair[1]))
    return tff.templates.MeasuredProcessOutput(output.state, result, output.measurements)

  return tff.learning.templates.ClientWorkProcess(client_work.initialize, next_fn)


def initial_state(client_work: ClientWork) -> Any:
  """Returns zeros in the structure of the kept state, as arrays."""
  kept = client_work.next.type_signature.result.result.member.update.kept
  return tf.nest.map_structure(lambda spec: np.zeros(spec.shape, spec.dtype.as_numpy_dtype),
                               tff.types.type_to_tf_tensor_specs(kept))
