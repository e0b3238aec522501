"""What a client does in a round: some epochs of minibatch gradient descent from the server's model.

One loop serves the whole FedAvg family; an algorithm is a change of the gradient. (TFF has such a client work
for FedAvg and for FedProx. In TFF 0.87 the latter's proximal term has the wrong sign: it drives clients away from
the server's model; `tests/learning/test_process.py` shows it.)
"""

import collections
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

# (gradients, weights, the server's weights) -> gradients; each a sequence of tensors like the model's weights.
GradientFn = Callable[[Sequence[tf.Tensor], Sequence[tf.Variable], Sequence[tf.Tensor]], Sequence[tf.Tensor]]


def plain_gradient(gradients, weights, server_weights):
  """FedAvg: the gradient of the client's loss."""
  del weights, server_weights
  return gradients


def proximal_gradient(strength: float) -> GradientFn:
  """FedProx: adds the gradient of strength / 2 * ||w - w_server||^2 (Li et al., MLSys 2020, equation 2)."""
  def changed(gradients, weights, server_weights):
    return [g + strength * (w - w0) for g, w, w0 in zip(gradients, weights, server_weights, strict=True)]
  return changed


def build_client_work(model_fn: Callable[[], tff.learning.models.VariableModel],
                      optimizer: tff.learning.optimizers.Optimizer, *, weighting: tff.learning.ClientWeighting,
                      gradient_fn: GradientFn = plain_gradient) -> tff.learning.templates.ClientWorkProcess:
  """Returns client work whose update is the server's weights minus the client's after its last batch.

  The update has TFF's sign: a gradient, which the server's optimizer descends. A client whose training leaves
  a non-finite weight sends zero with weight zero. Runs on clients, in built-in TensorFlow kernels.

  Args:
    model_fn: Builds the model anew on every call.
    weighting: By examples seen, or uniform.
  """
  with tf.Graph().as_default():
    model = model_fn()
    weights_type = tff.learning.models.weights_type_from_model(model)
    element_type = tff.types.tensorflow_to_type(model.input_spec)
    aggregate_metrics = tff.learning.metrics.sum_then_finalize(model.metric_finalizers())
  data_type = tff.SequenceType(element_type)

  @tff.tensorflow.computation(weights_type, data_type)
  def train(server_weights, batches):
    return _build_train_fn(model_fn(), optimizer, weighting, gradient_fn)(server_weights, batches)

  @tff.federated_computation
  def initialize():
    return tff.federated_value((), tff.SERVER)

  @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(weights_type, tff.CLIENTS),
                             tff.FederatedType(data_type, tff.CLIENTS))
  def next_fn(state, weights, client_data):
    result, metrics = tff.federated_map(train, (weights, client_data))
    measured = tff.federated_zip(collections.OrderedDict(train=aggregate_metrics(metrics)))
    return tff.templates.MeasuredProcessOutput(state, result, measured)

  return tff.learning.templates.ClientWorkProcess(initialize, next_fn)


def _build_train_fn(model, optimizer, weighting, gradient_fn):
  weights = tff.learning.models.ModelWeights.from_model(model)
  trainable = list(weights.trainable)

  @tf.function
  def train(server_weights, batches):
    tf.nest.map_structure(lambda w, w0: w.assign(w0), weights, server_weights)
    start = list(server_weights.trainable)
    examples = tf.constant(0, tf.int64)
    state = optimizer.initialize(tuple(tf.TensorSpec(w.shape, w.dtype) for w in trainable))
    for batch in batches:
      with tf.GradientTape() as tape:
        output = model.forward_pass(batch, training=True)
      gradients = gradient_fn(tape.gradient(output.loss, trainable), trainable, start)
      state, updated = optimizer.next(state, tuple(trainable), tuple(gradients))
      for weight, value in zip(trainable, updated, strict=True):
        weight.assign(value)
      examples += tf.cast(output.num_examples, tf.int64)
    update, weight = _finite_or_nothing(
        [w0 - w for w0, w in zip(start, trainable, strict=True)],
        tf.cast(examples, tf.float32) if weighting == tff.learning.ClientWeighting.NUM_EXAMPLES else tf.constant(1.0))
    return (tff.learning.templates.ClientResult(
        update=tf.nest.pack_sequence_as(server_weights.trainable, update), update_weight=weight),
            model.report_local_unfinalized_metrics())

  return train


def _finite_or_nothing(update, weight):
  finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(u)) for u in update])
  return [tf.where(finite, u, np.float32(0)) for u in update], tf.where(finite, weight, np.float32(0))
