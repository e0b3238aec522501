"""What a client of FedAvg or FedProx does in a round: some epochs of local training from the server's model.

The loop is `local_steps.descend`; an algorithm is a change of the gradient. (TFF has such a client work for FedAvg and
for FedProx. In TFF 0.87 the latter's proximal term has the wrong sign: it drives clients away from the server's model;
`tests/learning/test_process.py` shows it.)
"""

import collections

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import tasks
from tff_vision.learning import local_steps


def proximal_gradient(strength: float) -> local_steps.GradientChange:
  """FedProx: adds the gradient of strength / 2 * ||w - w_server||^2 (Li et al., MLSys 2020, equation 2)."""
  def change(carried, gradients, weights, server_weights):
    return carried, [g + strength * (w - w0) for g, w, w0 in zip(gradients, weights, server_weights, strict=True)]
  return change


def build_client_work(task: tasks.Task, optimizer: tff.learning.optimizers.Optimizer, *,
                      weighting: tff.learning.ClientWeighting,
                      change: local_steps.GradientChange = local_steps.plain_gradient
                      ) -> tff.learning.templates.ClientWorkProcess:
  """Returns client work whose update is the server's weights minus the client's after its last batch.

  A client whose training leaves a non-finite weight sends zero with weight zero. Runs on clients, in built-in
  TensorFlow kernels.

  Args:
    weighting: By examples seen, or uniform.
    change: Of the gradient; it carries nothing.
  """
  weights_type = task.weights_type
  data_type = tff.SequenceType(tff.types.tensorflow_to_type(task.batch_reader.element_spec))

  @tff.tensorflow.computation(weights_type, data_type)
  def train(server_weights, dataset):
    trained = local_steps.descend(task, optimizer, server_weights, dataset, change=change)
    return client_result(trained, server_weights, weighting), trained.metrics

  @tff.federated_computation
  def initialize():
    return tff.federated_value((), tff.SERVER)

  @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(weights_type, tff.CLIENTS),
                             tff.FederatedType(data_type, tff.CLIENTS))
  def next_fn(state, weights, client_data):
    result, metrics = tff.federated_map(train, (weights, client_data))
    measured = tff.federated_zip(collections.OrderedDict(train=local_steps.metrics_aggregator(metrics)))
    return tff.templates.MeasuredProcessOutput(state, result, measured)

  return tff.learning.templates.ClientWorkProcess(initialize, next_fn)


def client_result(trained: local_steps.Trained, server_weights: tff.learning.models.ModelWeights,
                  weighting: tff.learning.ClientWeighting) -> tff.learning.templates.ClientResult:
  """Returns a client's update and its weight; both are zero if the update is not finite."""
  weight = (tf.cast(trained.examples, tf.float32) if weighting == tff.learning.ClientWeighting.NUM_EXAMPLES
            else tf.constant(1.0))
  update, weight = finite_or_nothing(trained.update(), weight)
  return tff.learning.templates.ClientResult(
      update=tf.nest.pack_sequence_as(server_weights.trainable, update), update_weight=weight)


def finite_or_nothing(update: list[tf.Tensor], weight: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
  """Returns the update and its weight, or zeros if the update holds a number that is not finite."""
  finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(u)) for u in update])
  return tf.cond(finite, lambda: (update, weight), lambda: tf.nest.map_structure(tf.zeros_like, (update, weight)))
