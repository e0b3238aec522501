"""The server's step: the algorithm's transformation of the mean update, then the server optimizer.

The optimizer descends the averaged update as a gradient: Reddi et al., "Adaptive Federated Optimization", ICLR 2021,
algorithm 1.
"""

import collections
import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import told
from tff_vision.learning import algorithm as algorithm_lib
from tff_vision.learning import contract, local_steps, schedules


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerStep:
  """One algorithm's step on one model.

  Attributes:
    learning_rate: The learning rate of `optimizer`, which the schedule multiplies.
    schedule: The factor by round; None: always 1.
    weights_type: The type of the model's weights.
    total_weight: The sum of the weights of all clients' updates if all clients took part.
  """
  algorithm: algorithm_lib.Algorithm
  optimizer: tff.learning.optimizers.Optimizer
  learning_rate: float
  schedule: schedules.Schedule | None
  weights_type: tff.StructType
  total_weight: float

  def initial_state(self) -> tff.Computation:
    """Returns a computation of the state before round 1: the optimizer's, the number of rounds and the algorithm's.

    If the state has `cohort_weight`, it is zero between rounds. A caller that runs the step separately from the clients
    must set it to the sum of the clients' weights.
    """
    @tff.tensorflow.computation
    def initial():
      specs = tuple(tff.types.type_to_tf_tensor_specs(self.weights_type).trainable)
      state = collections.OrderedDict(optimizer=self.optimizer.initialize(specs), rounds=tf.constant(0),
                                      algorithm=contract.server_state(self.algorithm, specs))
      if self.algorithm.reads_share:
        state[told.COHORT_WEIGHT] = tf.constant(0.0)
      return state
    return initial

  def finalizer(self, sent_type: tff.Type) -> tff.learning.templates.FinalizerProcess:
    """Returns the step as a finalizer; a non-finite update changes neither model nor optimizer nor algorithm state.

    Args:
      sent_type: The type of the mean of the values that clients sent.
    """
    initial = self.initial_state()
    if self.algorithm.reads_share:
      sent_type = tff.types.to_type(collections.OrderedDict(
          [('mean', sent_type), (told.COHORT_WEIGHT, np.float32)]))

    @tff.tensorflow.computation(initial.type_signature.result, self.weights_type, sent_type)
    def step(state, weights, update):
      changed = tf.cond(local_steps.all_finite(tf.nest.flatten(update)), lambda: self._step(state, weights, update),
                        lambda: (state['optimizer'], state['algorithm'], tuple(weights.trainable)))
      after = collections.OrderedDict(state, optimizer=changed[0], algorithm=changed[1], rounds=state['rounds'] + 1)
      return after, tff.learning.models.ModelWeights(
          tf.nest.pack_sequence_as(weights.trainable, changed[2]), weights.non_trainable)

    @tff.federated_computation
    def initialize():
      return tff.federated_eval(initial, tff.SERVER)

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(self.weights_type, tff.SERVER),
                               tff.FederatedType(sent_type, tff.SERVER))
    def next_fn(state, weights, update):
      after, stepped = tff.federated_map(step, (state, weights, update))
      return tff.templates.MeasuredProcessOutput(after, stepped, tff.federated_value((), tff.SERVER))

    return tff.learning.templates.FinalizerProcess(initialize, next_fn)

  def _step(self, state, weights, update):
    mean, share, trainable = update, tf.constant(0.0), tuple(weights.trainable)
    if self.algorithm.reads_share:
      mean = update['mean']
      share = (update[told.COHORT_WEIGHT] + state[told.COHORT_WEIGHT]) / self.total_weight
    own, gradient = contract.step(self.algorithm, state['algorithm'], mean, share, trainable)
    optimizer_state = state['optimizer']
    if self.schedule is not None:
      rate = self.learning_rate * self.schedule(tf.cast(state['rounds'] + 1, tf.float32))
      optimizer_state = self.optimizer.set_hparams(optimizer_state, collections.OrderedDict(learning_rate=rate))
    following, stepped = self.optimizer.next(optimizer_state, trainable, tuple(gradient))
    return contract.formed(following, optimizer_state), own, tuple(stepped)
