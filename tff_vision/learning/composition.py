"""Puts the parts of an algorithm together that TFF's own composer has no place for.

Two things are new: what a client keeps leaves the round beside the server's state, and client work may read the
server's state (a control variate, a global momentum, earlier models).
"""

import collections
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_vision.client_state import keeping

templates = tff.learning.templates
# A measurement of client work, which a finalizer takes beside the mean: the sum of the clients' weights.
COHORT_WEIGHT = 'cohort_weight'


@dataclasses.dataclass(frozen=True)
class KeepingProcess:
  """Like a `tff.learning.templates.LearningProcess`; its `next` also returns what clients keep.

  Attributes:
    next_of_clients: (state@SERVER, {pairs of data and state}@CLIENTS) -> LearningProcessOutput, where `metrics` has
      the CLIENTS-placed element `kept`.
  """
  initialize: tff.Computation
  next_of_clients: tff.Computation
  get_model_weights: tff.Computation
  set_model_weights: tff.Computation

  def next(self, state: Any, pairs: Sequence[Any]) -> templates.LearningProcessOutput:
    """Runs one round; `metrics['kept']` is the list of the clients' new states."""
    if pairs:
      return self.next_of_clients(state, pairs)
    output = self._next_of_nobody(state, [])
    return output._replace(metrics=dict(output.metrics, kept=[]))

  @functools.cached_property
  def _next_of_nobody(self):
    # TFF 0.87 cannot return CLIENTS-placed values of no clients.
    @tff.federated_computation(*self.next_of_clients.type_signature.parameter)
    def servers_part(state, pairs):
      output = self.next_of_clients(state, pairs)
      names = [name for name in tff.structure.name_list(self.next_of_clients.type_signature.result.metrics)
               if name != 'kept']
      return templates.LearningProcessOutput(
          output.state, collections.OrderedDict((name, getattr(output.metrics, name)) for name in names))
    return servers_part


Process = templates.LearningProcess | KeepingProcess


def compose(initial_weights: tff.Computation, client_work: templates.ClientWorkProcess,
            aggregator: tff.templates.AggregationProcess, finalizer: templates.FinalizerProcess, *,
            reads_server_state: bool) -> Process:
  """Returns a learning process, or a `KeepingProcess` if the client work keeps state.

  Args:
    initial_weights: Returns model weights of arbitrary values.
    client_work: May be a keeping one, see `client_state.keeping`.
    aggregator: Weighted, of what clients send.
    reads_server_state: Whether client work takes the finalizer's state in place of one of its own.
  """
  distributor = templates.build_broadcast_process(initial_weights.type_signature.result)
  keeps = keeping.keeps(client_work)
  measured = client_work.next.type_signature.result.measurements.member

  @tff.federated_computation
  def nothing():
    return tff.federated_value((), tff.SERVER)

  own_state = nothing if reads_server_state else client_work.initialize

  @tff.federated_computation
  def initialize():
    return tff.federated_zip(templates.LearningAlgorithmState(
        tff.federated_eval(initial_weights, tff.SERVER), distributor.initialize(), own_state(),
        aggregator.initialize(), finalizer.initialize()))

  @tff.federated_computation(initialize.type_signature.result, client_work.next.type_signature.parameter[2])
  def next_fn(state, client_data):
    broadcast = distributor.next(state.distributor, state.global_model_weights)
    worked = client_work.next(state.finalizer if reads_server_state else state.client_work, broadcast.result,
                              client_data)
    sent = worked.result.update.sent if keeps else worked.result.update
    summed = aggregator.next(state.aggregator, sent, worked.result.update_weight)
    result = summed.result
    if _has_cohort_weight(finalizer.next.type_signature.parameter[2].member):
      # Where weights are hidden, nobody knows it before the sum is open.
      weight = (worked.measurements.cohort_weight if _has_cohort_weight(measured)
                else tff.federated_value(np.float32(0), tff.SERVER))
      result = tff.federated_zip(collections.OrderedDict(mean=result, cohort_weight=weight))
    stepped = finalizer.next(state.finalizer, state.global_model_weights, result)
    after = tff.federated_zip(templates.LearningAlgorithmState(
        stepped.result, broadcast.state, state.client_work if reads_server_state else worked.state, summed.state,
        stepped.state))
    metrics = collections.OrderedDict(client_work=worked.measurements, aggregator=summed.measurements,
                                      finalizer=stepped.measurements)
    if keeps:
      return templates.LearningProcessOutput(after, collections.OrderedDict(metrics, kept=worked.result.update.kept))
    return templates.LearningProcessOutput(after, tff.federated_zip(metrics))

  return (KeepingProcess if keeps else templates.LearningProcess)(
      initialize, next_fn, *_weights_of(initialize.type_signature.result.member))


def _has_cohort_weight(kind):
  return isinstance(kind, tff.StructType) and COHORT_WEIGHT in tff.structure.name_list(kind)


def _weights_of(state_type):
  """Returns computations that get the model's weights from a state, and that set them."""
  @tff.tensorflow.computation(state_type)
  def get_model_weights(state):
    return state.global_model_weights

  @tff.tensorflow.computation(state_type, state_type.global_model_weights)
  def set_model_weights(state, weights):
    return templates.LearningAlgorithmState(weights, state.distributor, state.client_work, state.aggregator,
                                            state.finalizer)

  return get_model_weights, set_model_weights
