"""Rounds in which somebody outside of the TFF computation opens the sum: key holder or unmasking.

There are two processes. In the first, a sum hides each update, and the numbers that a client tells beside it, and adds
up what it hid; the hidden sum leaves the round as a measurement, and the process's own result is zero and unused. Then
the sum is opened. In the second, the innermost sum of the aggregation stack is a constant that the state brings in; it
runs without clients, so all it does is what follows a sum: division, noise, the server's optimizer. Layers that learn
from clients between rounds (adaptive clipping by quantiles) would see no clients in the second, and do not fit here.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
import tree

from tff_vision.secure import refusal

_OPENED = 'opened_sum'
_HIDDEN = 'hidden_sum'
# What a server's step may read beside the sum: the clients' weights. The state has a place for it, since no client is
# there when the sum is open.
_COHORT_WEIGHT = 'cohort_weight'
# A list, one element a client: what each keeps until its next round.
_KEPT = 'kept'
_NOTHING = np.zeros([0], np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
  """An open sum.

  Attributes:
    vector: What the second process's innermost sum is, [n] float32.
    weight: Of all clients together, where updates are weighed.
    measured: What clients told of their training; empty if nothing.
  """
  vector: np.ndarray
  weight: float = 0.0
  measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Hiding(Protocol):
  """A learning process whose innermost sum hides."""

  def next(self, state: Any, client_datasets: Sequence[Any]) -> tff.learning.templates.LearningProcessOutput:
    """Runs one round."""


class MeasuredOnly:
  """A learning process of which only the metrics are computed and sent: no step of the server, no state."""

  def __init__(self, process: tff.learning.templates.LearningProcess):

    @tff.federated_computation(*process.next.type_signature.parameter)
    def measure(state, client_data):
      return process.next(state, client_data).metrics

    self._measure = measure

  def next(self, state: Any, client_datasets: Sequence[Any]) -> tff.learning.templates.LearningProcessOutput:
    """Runs one round; the state that it returns is the one before."""
    return tff.learning.templates.LearningProcessOutput(state, self._measure(state, client_datasets))


class OpenedSumFactory(tff.aggregators.UnweightedAggregationFactory):
  """A sum that ignores its clients and returns the vector in its state, which it leaves empty.

  Attributes:
    length: Of the vector, once a sum was made.
  """
  length: int | None = None

  def create(self, value_type):
    self.length = length = vector_length(value_type)

    @tff.federated_computation
    def initialize():
      return tff.federated_eval(nothing_opened, tff.SERVER)

    @tff.tensorflow.computation(initialize.type_signature.result.member)
    def opened(state):
      return tf.ensure_shape(state[_OPENED], [length])

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      del value
      return tff.templates.MeasuredProcessOutput(
          initialize(), tff.federated_map(opened, state), tff.federated_value((), tff.SERVER))

    return tff.templates.AggregationProcess(initialize, next_fn)


@tff.tensorflow.computation
def nothing_opened():
  """Returns the state of a sum that waits to be opened: a vector of any length, empty between rounds."""
  return collections.OrderedDict([(_OPENED, tf.compat.v1.placeholder_with_default(tf.zeros([0]), [None]))])


def hidden_output(state, hidden, *, clients_max: int, length: int, fewest: int = 2
                  ) -> tff.templates.MeasuredProcessOutput:
  """Returns what a hiding sum returns: zeros, and as measurement the hidden sum, its clients, its length.

  Args:
    hidden: The sum, server-placed; it fails where it is over one client, fewer than `fewest`, or more than
      `clients_max`. A sum over nobody does not fail, and is not opened.
  """

  @tff.tensorflow.computation
  def zeros():
    return tf.zeros([length], tf.float32)

  @tff.tensorflow.computation(hidden.type_signature.member, np.int32)
  def checked(total, clients):
    with tf.control_dependencies([_cohort_assertion(clients, clients_max, fewest)]):
      return tf.identity(total)

  clients = tff.federated_sum(tff.federated_value(np.int32(1), tff.CLIENTS))
  measured = tff.federated_zip(collections.OrderedDict([
      (_HIDDEN, tff.federated_map(checked, (hidden, clients))), ('clients', clients),
      ('length', tff.federated_value(np.int32(length), tff.SERVER))]))
  return tff.templates.MeasuredProcessOutput(state, tff.federated_eval(zeros, tff.SERVER), measured)


def vector_length(value_type) -> int:
  """Returns the length of a float32 vector type.

  Raises:
    TypeError: It is another type.
  """
  if not isinstance(value_type, tff.TensorType) or len(value_type.shape) != 1 or value_type.dtype != np.float32:
    raise TypeError(f'secure sums take float32 vectors, found {value_type}; wrap the factory in '
                    'tff.aggregators.concat_factory for structures.')
  return value_type.shape[0]


class TwoPhaseProcess:
  """Looks like a `tff.learning.templates.LearningProcess` to a training loop."""

  def __init__(self, *, hiding: Hiding, opening: tff.learning.templates.LearningProcess,
               hiding_state: Mapping[str, Any], read: Callable[[np.ndarray, int], Opened],
               client_data: Callable[[Sequence[Any]], Sequence[Any]],
               open_sum: Callable[[np.ndarray, int, int], np.ndarray], fewest: int = 2):
    """Initializes the process.

    Args:
      hiding: The process whose innermost sum hides.
      opening: The same process around `OpenedSumFactory`; its state is this process's.
      hiding_state: The state of the hiding sum, which stands alone.
      read: From what `open_sum` returns, and the number of clients in it, to what it says.
      client_data: From the cohort's datasets to what `hiding.next` takes; called once a round.
      open_sum: From the hidden sum, the number of clients in it and the length of what each hid to the vector of
        sums, [length].
      fewest: No sum over fewer clients is opened.
    """
    self._fewest = fewest
    self._hiding = hiding
    self._opening = opening
    self._hiding_state = hiding_state
    self._client_data = client_data
    self._open_sum = open_sum
    self._read = read
    self.initialize = opening.initialize
    self.get_model_weights = opening.get_model_weights
    self.set_model_weights = opening.set_model_weights

  def next(self, state, client_datasets: Sequence[Any]) -> tff.learning.templates.LearningProcessOutput:
    """Runs one round.

    Raises:
      ValueError: The sum cannot be opened, or is over too few; the state is unchanged, so the round can be run again.
    """
    hidden = self._hiding.next(state._replace(aggregator=self._hiding_state), self._client_data(client_datasets))
    found = _find_hidden(hidden.metrics)
    if 0 < (clients := int(found['clients'])) < self._fewest:
      raise refusal.RefusedError(few_clients(clients, self._fewest))
    total = self._read(np.asarray(self._open_sum(np.asarray(found[_HIDDEN]), clients, int(found['length']))), clients)
    opened = self._opening.next(_with_opened(state, opened_state(total.vector), np.float32(total.weight)), [])
    metrics = collections.OrderedDict(hidden.metrics, aggregator=opened.metrics['aggregator'],
                                      finalizer=opened.metrics['finalizer'])
    if total.measured:
      metrics['client_work'] = collections.OrderedDict(train=total.measured)
    return tff.learning.templates.LearningProcessOutput(
        _with_opened(opened.state, opened_state(), np.float32(0)), metrics)


def for_whole_cohort(output: tff.learning.templates.LearningProcessOutput, positions: Sequence[int], count: int
                     ) -> tff.learning.templates.LearningProcessOutput:
  """Returns the output of a round over part of a cohort: absent clients keep what they had, so None stands for them.

  Args:
    positions: Of the clients of the round in the cohort of `count`.
  """
  if (kept := output.metrics.get(_KEPT)) is None:
    return output
  found = dict(zip(positions, kept, strict=True))
  return output._replace(metrics=dict(output.metrics, **{_KEPT: [found.get(i) for i in range(count)]}))


def _find_hidden(metrics):
  """Returns the only nested mapping that holds a hidden sum."""
  if isinstance(metrics, Mapping):
    if _HIDDEN in metrics:
      return metrics
    found = [m for value in metrics.values() if (m := _find_hidden(value)) is not None]
    assert len(found) <= 1, 'two hidden sums in one stack'
    return found[0] if found else None
  return None


def opened_state(vector: np.ndarray = _NOTHING) -> collections.OrderedDict:
  """Returns the state of an `OpenedSumFactory` that brings in `vector`; by default nothing."""
  return collections.OrderedDict([(_OPENED, vector)])


def _with_opened(state, replacement, weight):
  """Returns `state` with another state of the innermost sum, and the weight where a step reads it."""
  return tree.map_structure_with_path(
      lambda path, leaf: weight if path and path[-1] == _COHORT_WEIGHT else leaf, _with_innermost(state, replacement))


def _with_innermost(state, replacement):
  return tree.traverse(lambda part: replacement if isinstance(part, Mapping) and _OPENED in part else None, state)


def few_clients(clients: int | str, fewest: int) -> str:
  """Returns the sentence that refuses a sum of fewer clients than its noise was promised for."""
  return (f'secure sum: {clients} clients delivered, and {fewest} are needed for the noise that was promised '
          '(noise_survivors); nothing was opened, and the round can be run again.')


def _cohort_assertion(clients, clients_max, fewest):
  """Fails where there are too many clients, too few, or one, whose sum is that client's update."""
  few = tf.debugging.Assert(tf.not_equal(clients, 1), [
      'secure sum: a cohort of one client; its sum would be that client\'s update.'])
  many = tf.debugging.Assert(clients <= clients_max, [
      f'secure sum: more than secure_clients_max={clients_max} clients; raise it, or sample smaller cohorts.'])
  enough = tf.debugging.Assert(tf.logical_or(tf.equal(clients, 0), clients >= fewest), [
      few_clients(f'fewer than {fewest}', fewest)])
  return tf.group(few, many, enough)
