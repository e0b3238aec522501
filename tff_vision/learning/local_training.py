"""The TFF client work that all algorithms share.

The loop over batches is `local_steps.descend`; the method `work` of an algorithm contains the algorithm's own part.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, tasks, told
from tff_vision.client_state import keeping
from tff_vision.learning import algorithm as algorithm_lib
from tff_vision.learning import contract, local_steps, optimizers, schedules


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalOptimization:
  """The settings of local optimization, which do not depend on the algorithm.

  Attributes:
    schedule: The factor on the learning rate by round; None: always 1.
  """
  client: configs.ClientConfig
  schedule: schedules.Schedule | None = None

  def learning_rate(self, round_num: tf.Tensor | None) -> tf.Tensor | float:
    """Returns the learning rate of a round; rounds count from 1. `round_num` is read only if there is a schedule."""
    rate = optimizers.learning_rate(self.client.client_optimizer, self.client.client_learning_rate)
    if self.schedule is None:
      return rate
    return rate * self.schedule(tf.cast(round_num, tf.float32))

  def optimizer(self, learning_rate: tf.Tensor | float) -> tff.learning.optimizers.Optimizer:
    return optimizers.client_optimizer(learning_rate, self.client, scheduled=self.schedule is not None)

  def change(self, gradients, weights):
    """Returns the gradients after clipping by their global norm, with weight decay added afterwards."""
    if self.client.client_gradient_clip is not None:
      gradients, _ = tf.clip_by_global_norm(gradients, self.client.client_gradient_clip)
    if self.client.client_weight_decay:
      gradients = [g + self.client.client_weight_decay * w for g, w in zip(gradients, weights, strict=True)]
    return gradients


def build_client_work(task: tasks.Task, algorithm: algorithm_lib.Algorithm, local: LocalOptimization, *,
                      weighting: tff.learning.ClientWeighting | None, server_state_type: tff.Type | None,
                      beside: told.Beside = told.IN_THE_CLEAR) -> tff.learning.templates.ClientWorkProcess:
  """Returns client work for `composition.compose`.

  A client whose work results in a non-finite number sends zero with weight zero, and its kept state does not change.
  Runs on clients, in built-in TensorFlow kernels.

  Args:
    weighting: By examples seen, or uniform; None: every update has weight one, even if it was replaced by zero.
    server_state_type: The type of the finalizer's state, which the process then takes as its own state; None: the
      process takes no state.
    beside: What a client's computation returns in addition to its update.
  """
  told_of = local_steps.quantities(
      task.largest_client, scaled=task.client.loss_scale is not None)[beside.measured]
  names = tuple(told_of)
  at_first = brought_at_first(task, algorithm)
  data_type = tff.SequenceType(tff.types.tensorflow_to_type(task.batch_reader.element_spec))
  if at_first is not None:
    data_type = keeping.data_type(data_type, tff.types.tensorflow_to_type(tf.nest.map_structure(_spec, at_first)))

  @tff.tensorflow.computation(server_state_type or ())
  def show(state):
    if server_state_type is None:
      return ()
    return collections.OrderedDict(round_num=state['rounds'] + 1, shown=contract.shown(algorithm, state['algorithm']))

  @tff.tensorflow.computation(show.type_signature.result, task.weights_type, data_type)
  def train(shown, weights, data):
    dataset, brought = (data, None) if at_first is None else (data[0], keeping.state_of(data[1]))
    rate = local.learning_rate(shown['round_num'] if server_state_type is not None else None)
    work = contract.work(algorithm, algorithm_lib.Client(
        task=task, optimizer=local.optimizer(rate), learning_rate=tf.convert_to_tensor(rate, tf.float32),
        change=local.change, server_weights=weights, dataset=dataset,
        shown=shown['shown'] if server_state_type is not None else (), brought=brought))
    numbers = collections.OrderedDict((name, work.trained.metrics[name]) for name in names)
    if beside.measured == told.Measured.NOISED:
      # An algorithm may add up several measurements, but the noise is computed for numbers within their ranges.
      numbers = collections.OrderedDict((name, _within(told_of[name], value)) for name, value in numbers.items())
    return returned(_result(algorithm, work, brought, weighting), numbers, beside)

  @tff.federated_computation
  def initialize():
    return tff.federated_eval(_zeros(show.type_signature.parameter), tff.SERVER)

  @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(task.weights_type, tff.CLIENTS),
                             tff.FederatedType(data_type, tff.CLIENTS))
  def next_fn(state, weights, client_data):
    shown = tff.federated_broadcast(tff.federated_map(show, state))
    result, measured = split(tff.federated_map(train, (shown, weights, client_data)), local_steps.summary)
    if algorithm.reads_share and not beside.hidden:
      measured[told.COHORT_WEIGHT] = tff.federated_sum(result.update_weight)
    return tff.templates.MeasuredProcessOutput(state, result, zipped(measured))

  return tff.learning.templates.ClientWorkProcess(initialize, next_fn)


def returned(result: tff.learning.templates.ClientResult, numbers: Mapping[str, tf.Tensor], beside: told.Beside
             ) -> tuple[Any, ...]:
  """Returns a client's result for `split`: the numbers are sent with the weight, or separately, or not at all."""
  if not numbers:
    return (result,)
  if not beside.hidden:
    return result, numbers
  return (tff.learning.templates.ClientResult(
      result.update, collections.OrderedDict(weight=result.update_weight, numbers=numbers)),)


def split(values: Any, summary: Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]
          ) -> tuple[Any, collections.OrderedDict]:
  """Returns clients' results, and the measurements in the clear: `summary` as `train`; called while TFF traces.

  Args:
    values: The results of `returned`, CLIENTS-placed.
  """
  measured = collections.OrderedDict()
  if len(values.type_signature.member) == 2:
    measured['train'] = local_steps.added_up(values[1], summary)
  return values[0], measured


def zipped(measured: Mapping[str, Any]) -> Any:
  """Returns the measurements as one server-placed value; called while TFF traces."""
  return tff.federated_zip(measured) if measured else tff.federated_value((), tff.SERVER)


def brought_at_first(task: tasks.Task, algorithm: algorithm_lib.Algorithm):
  """Returns, as arrays, the state that comes with the data of a client that never took part; None: no state."""
  shapes = tff.types.type_to_tf_tensor_specs(task.weights_type).trainable
  brought = contract.brings(algorithm, tuple(shapes))
  return None if brought is None else tf.nest.map_structure(np.asarray, brought)


def _within(quantity, value):
  """Returns the step of the quantity's range that is nearest to `value`; the lowest step if `value` is not a number."""
  value = tf.where(tf.math.is_nan(value), tf.cast(quantity.low, value.dtype), value)
  return tf.clip_by_value(tf.round(value / quantity.step) * quantity.step, quantity.low, quantity.high)


def _spec(array):
  return tf.TensorSpec(np.shape(array), array.dtype)


def _result(algorithm, work, brought, weighting):
  constant = weight = tf.constant(1.0)
  if weighting == tff.learning.ClientWeighting.NUM_EXAMPLES:
    weight = tf.cast(work.trained.examples, tf.float32)
  is_finite = local_steps.all_finite([part for part in tf.nest.flatten((work.sent, work.kept)) if part is not None])
  nothing = lambda structure: tf.nest.map_structure(tf.zeros_like, structure)
  sent, weight = tf.cond(is_finite, lambda: (work.sent, weight), lambda: nothing((work.sent, weight)))
  if weighting is None:
    weight = constant
  if not algorithm.keeps:
    return tff.learning.templates.ClientResult(sent, weight)
  kept = tf.cond(is_finite, lambda: work.kept, lambda: brought)
  return tff.learning.templates.ClientResult(keeping.update(sent, kept), weight)


def _zeros(kind: tff.Type) -> tff.Computation:
  """Returns a computation of zeros, for a state of which only the type is used and never the value."""
  @tff.tensorflow.computation
  def zeros():
    return tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), tff.types.type_to_tf_tensor_specs(kind))
  return zeros
