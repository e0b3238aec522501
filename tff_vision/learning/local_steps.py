"""The one loop of local training: minibatch gradient descent over one client's examples, from the server's weights.

Every client work trains through `descend`; an algorithm is a change of the gradient, with a state that it may carry
from step to step. The loop runs inside the client's graph and updates the weights in place.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import tasks
from tff_vision.learning import optimizers

# (carried, gradients, weights, the server's weights) -> (carried, gradients); the last three and the gradients are
# sequences of tensors like the model's trainable weights.
GradientChange = Callable[[Any, Sequence[tf.Tensor], Sequence[tf.Variable], Sequence[tf.Tensor]],
                          tuple[Any, Sequence[tf.Tensor]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
  """One client after its local epochs.

  Attributes:
    start: The server's trainable weights.
    weights: The client's, after the last step.
    steps: int32 [], how many there were.
    examples: int64 [], over all steps; an example counts once an epoch.
    metrics: Sums over those examples for `metrics_aggregator`, float64 [].
    carried: What the gradient change carried out of the last step.
  """
  start: Sequence[tf.Tensor]
  weights: Sequence[tf.Tensor]
  steps: tf.Tensor
  examples: tf.Tensor
  metrics: Mapping[str, tf.Tensor]
  carried: Any

  def update(self) -> list[tf.Tensor]:
    """Returns the server's weights minus the client's: TFF's sign, a gradient that the server's optimizer descends."""
    return [before - after for before, after in zip(self.start, self.weights, strict=True)]


def plain_gradient(carried, gradients, weights, server_weights):
  """The gradient of the client's loss: FedAvg."""
  del weights, server_weights
  return carried, gradients


def descend(task: tasks.Task, optimizer: tff.learning.optimizers.Optimizer,
            server_weights: tff.learning.models.ModelWeights, dataset: tf.data.Dataset, *,
            change: GradientChange = plain_gradient, carried: Any = ()) -> Trained:
  """Trains from `server_weights` on the client in `dataset`; call it inside a `tff.tensorflow.computation`.

  Args:
    dataset: Of one element, as `task.client_dataset` makes it.
    change: Traced once, in the body of a loop: it may use tensors from outside, and what differs from step to step
      is in `carried`.
    carried: What `change` gets in the first step: a structure of tensors whose shapes and types stay.
  """
  model = task.training_model()
  weights = tff.learning.models.ModelWeights.from_model(model)
  trainable, start = list(weights.trainable), list(server_weights.trainable)

  @tf.function
  def run(server_weights, carried):
    tf.nest.map_structure(lambda w, w0: w.assign(w0), weights, server_weights)
    client = task.batch_reader.open(dataset)
    state = optimizers.initial_state(optimizer, trainable)
    sums = tf.zeros([2], tf.float64)
    for index in tf.range(client.num_batches):
      x, y = client.batch(index)
      gradients, measured = _gradients(task, model, trainable, x, y)
      carried, gradients = change(carried, gradients, trainable, start)
      state = optimizers.step_in_place(optimizer, state, trainable, gradients)
      sums += measured
    examples = tf.cast(client.num_examples, tf.int64) * task.client.client_epochs
    return [w.read_value() for w in trainable], client.num_batches, examples, sums, carried

  trained, steps, examples, sums, carried = run(server_weights, carried)
  metrics = collections.OrderedDict(loss=sums[0], correct=sums[1], examples=tf.cast(examples, tf.float64))
  return Trained(start=start, weights=trained, steps=steps, examples=examples, metrics=metrics, carried=carried)


def metrics_aggregator(metrics: tff.FederatedType) -> Any:
  """Returns the mean loss and accuracy over all clients' examples, and their number; called while TFF traces.

  Args:
    metrics: `Trained.metrics` of each client.
  """
  @tff.tensorflow.computation(metrics.type_signature.member)
  def finalize(sums):
    mean = lambda total: tf.cast(tf.math.divide_no_nan(total, sums['examples']), tf.float32)
    return collections.OrderedDict(loss=mean(sums['loss']), accuracy=mean(sums['correct']),
                                   num_examples=tf.cast(sums['examples'], tf.int64))

  return tff.federated_map(finalize, tff.federated_sum(metrics))


def _gradients(task, model, trainable, x, y):
  """Returns the gradient of the mean loss over a batch, and (sum of losses, number of right answers)."""
  with tf.GradientTape() as tape:
    logits = model(x, training=True)
    loss = tf.add_n([task.loss_fn(y, logits), *model.losses])
  count = tf.cast(tf.shape(y)[0], tf.float64)
  return tape.gradient(loss, trainable), tf.stack([tf.cast(loss, tf.float64) * count, _right(logits, y)])


def _right(logits, y):
  """Returns how many answers are right, float64 []; of several findings, the share of them for each example."""
  if y.shape.rank == 1:
    return tf.reduce_sum(tf.cast(tf.argmax(logits, 1, tf.int32) == tf.cast(y, tf.int32), tf.float64))
  return tf.reduce_sum(tf.reduce_mean(tf.cast((logits > 0) == (y > 0.5), tf.float64), axis=1))
