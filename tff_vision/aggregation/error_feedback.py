"""Error feedback: a client keeps what compression left out of its update and adds it to its next one.

Stich et al., "Sparsified SGD with Memory", NeurIPS 2018, algorithm 1; Karimireddy et al., "Error Feedback Fixes
SignSGD", ICML 2019. Between rounds the memory is kept like every client state, see `client_state`.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import catalogue
from tff_vision.aggregation import codecs, flat
from tff_vision.client_state import keeping


def with_error_feedback(client_work: keeping.ClientWork,
                        codec_for: Callable[[int], codecs.Codec]) -> keeping.ClientWork:
  """Returns client work that keeps state; its updates are the compressed sum of update and memory.

  A client whose training failed (weight zero) sends zeros and leaves its memory unchanged. Runs on clients.

  Raises:
    ValueError: The client work already keeps state.
  """
  if keeping.keeps(client_work):
    raise ValueError('compression=top_k does not go with an algorithm whose clients keep state: '
                     f'{catalogue.CLASHES[catalogue.Trait.DEFERS, catalogue.Trait.KEEPS_STATE]}.')
  state_type, weights_type, data_type = client_work.next.type_signature.parameter
  result_type = client_work.next.type_signature.result.result.member
  codec = codec_for(flat.length(result_type.update))
  pair_type = keeping.data_type(data_type.member, tff.TensorType(np.float32, [codec.length]))

  @tff.tensorflow.computation(result_type, pair_type[1])
  def compensate(result, memory):
    before = keeping.state_of(memory)
    counts = result.update_weight > 0
    wanted = flat.flatten(result.update) + before
    sent = tf.where(counts, codec.decode(codec.encode(wanted)), tf.zeros_like(wanted))
    return tff.learning.templates.ClientResult(
        keeping.update(flat.unflatten(sent, result_type.update), tf.where(counts, wanted - sent, before)),
        result.update_weight)

  @tff.federated_computation(state_type, weights_type, tff.FederatedType(pair_type, tff.CLIENTS))
  def next_fn(state, weights, pairs):
    output = client_work.next(state, weights, pairs[0])
    result = tff.federated_map(compensate, (output.result, pairs[1]))
    return tff.templates.MeasuredProcessOutput(output.state, result, output.measurements)

  return tff.learning.templates.ClientWorkProcess(client_work.initialize, next_fn)
