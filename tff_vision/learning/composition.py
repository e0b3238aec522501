"""Composes learning processes for which TFF's own composer has no place.

Two things differ from TFF's composer: a round returns the clients' kept values in addition to the server's state, and
client work may read the server's state (a control variate, a global momentum, earlier models).
"""

import collections
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_federated as tff

from tff_vision import protocols, told
from tff_vision.client_state import keeping

templates = tff.learning.templates


class KeepingOutput(NamedTuple):
  """The result of a round's computation if clients keep something.

  Attributes:
    kept: The clients' kept values, CLIENTS-placed; the other fields are SERVER-placed.
  """
  state: Any
  metrics: Any
  kept: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Composed(protocols.ComposedProcess):
  """A process that is one TFF computation.

  Attributes:
    start: () -> state@SERVER.
    round: (state@SERVER, {data}@CLIENTS) -> `tff.learning.templates.LearningProcessOutput`, or `KeepingOutput` if
      clients keep something.
    weights_of: state -> model weights.
    with_weights: (state, model weights) -> state.
    length: The number of values in a client's update.
  """
  start: tff.Computation
  round: tff.Computation
  weights_of: tff.Computation
  with_weights: tff.Computation
  length: int

  @property
  def sent_length(self) -> int:
    return self.length

  @property
  def keeps(self) -> bool:
    return self.round.type_signature.result.python_container is KeepingOutput

  @property
  def state_type(self) -> tff.StructType:
    return self.start.type_signature.result.member

  def initialize(self) -> protocols.State:
    return self.start()

  def next(self, state: protocols.State, data: Sequence[Any]) -> protocols.RoundOutput:
    if not self.keeps:
      output = self.round(state, data)
      return protocols.RoundOutput(output.state, output.metrics)
    if not data:
      output = self._round_of_nobody(state, [])
      return protocols.RoundOutput(output.state, output.metrics, kept=[])
    output = self.round(state, data)
    return protocols.RoundOutput(output.state, output.metrics, kept=output.kept)

  def measure(self, state: protocols.State, data: Sequence[Any]) -> protocols.RoundOutput:
    if self.keeps:  # The computation of the whole round also returns what clients keep.
      return dataclasses.replace(self.next(state, data), state=state)
    return protocols.RoundOutput(state, self._metrics_alone(state, data))

  def get_model_weights(self, state: protocols.State) -> protocols.Weights:
    return self.weights_of(state)

  def set_model_weights(self, state: protocols.State, weights: protocols.Weights) -> protocols.State:
    return self.with_weights(state, weights)

  @functools.cached_property
  def _metrics_alone(self):
    @tff.federated_computation(*self.round.type_signature.parameter)
    def metrics_alone(state, data):
      return self.round(state, data).metrics
    return metrics_alone

  @functools.cached_property
  def _round_of_nobody(self):
    # TFF 0.87 cannot return CLIENTS-placed values of no clients.
    @tff.federated_computation(*self.round.type_signature.parameter)
    def servers_part(state, data):
      output = self.round(state, data)
      return templates.LearningProcessOutput(output.state, output.metrics)
    return servers_part


def compose(initial_weights: tff.Computation, client_work: tff.learning.templates.ClientWorkProcess,
            aggregator: tff.templates.AggregationProcess, finalizer: tff.learning.templates.FinalizerProcess, *,
            reads_server_state: bool) -> Composed:
  """Returns the process of an algorithm.

  Args:
    initial_weights: Returns model weights of arbitrary values.
    client_work: May keep a state for each client, see `client_state.keeping`.
    aggregator: A weighted aggregator of the values that clients send.
    reads_server_state: Whether the client work takes the finalizer's state instead of a state of its own.
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
      # If weights are hidden, nobody knows the cohort's weight before the secure sum is opened.
      weight = (worked.measurements.cohort_weight if _has_cohort_weight(measured)
                else tff.federated_value(np.float32(0), tff.SERVER))
      result = tff.federated_zip(collections.OrderedDict(mean=result, cohort_weight=weight))
    stepped = finalizer.next(state.finalizer, state.global_model_weights, result)
    after = tff.federated_zip(templates.LearningAlgorithmState(
        stepped.result, broadcast.state, state.client_work if reads_server_state else worked.state, summed.state,
        stepped.state))
    metrics = tff.federated_zip(collections.OrderedDict(
        client_work=worked.measurements, aggregator=summed.measurements, finalizer=stepped.measurements))
    if keeps:
      return KeepingOutput(after, metrics, worked.result.update.kept)
    return templates.LearningProcessOutput(after, metrics)

  weights_of, with_weights = _weights_of(initialize.type_signature.result.member)
  return Composed(start=initialize, round=next_fn, weights_of=weights_of, with_weights=with_weights,
                  length=keeping.sent_length(client_work))


def _has_cohort_weight(kind):
  return isinstance(kind, tff.StructType) and told.COHORT_WEIGHT in tff.structure.name_list(kind)


def _weights_of(state_type):
  """Returns two computations: one gets the model's weights from a state, the other sets them."""
  @tff.tensorflow.computation(state_type)
  def get_model_weights(state):
    return state.global_model_weights

  @tff.tensorflow.computation(state_type, state_type.global_model_weights)
  def set_model_weights(state, weights):
    return templates.LearningAlgorithmState(weights, state.distributor, state.client_work, state.aggregator,
                                            state.finalizer)

  return get_model_weights, set_model_weights
