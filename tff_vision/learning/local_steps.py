"""Local training: minibatch gradient descent over the examples of one client, from the server's weights.

Every client work trains through `descend`; an algorithm is a change of the gradient, with a state that it may carry
from step to step. The loop runs inside the client's graph and updates the weights in place.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import tasks, told
from tff_vision.learning import optimizers
from tff_vision.models import added_losses

# (carried, model input, labels, weights) -> carried; called before a step with the weights that it begins with.
Beside = Callable[[Any, tf.Tensor, tf.Tensor, Sequence[tf.Variable]], Any]
# (model, model input, labels, outputs) -> the batch's loss, [], in place of the task's; the model's own regularisation
# losses are added to it. Outputs are those of the model in training.
BatchLoss = Callable[[tf.keras.Model, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
# (carried, gradients, weights, the server's weights) -> (carried, gradients); the last three and the gradients are
# sequences of tensors like the model's trainable weights.
GradientChange = Callable[[Any, Sequence[tf.Tensor], Sequence[tf.Variable], Sequence[tf.Tensor]],
                          tuple[Any, Sequence[tf.Tensor]]]


# As fine as the grid of private sums, `privacy.grid`; a test holds both equal.
ACCURACY_STEPS = 2 ** 20
# Of the sum of a client's losses beside a hidden update; beyond so large a mean loss nothing is said of it.
LOSS_STEP, LARGEST_LOSS = 2.0 ** -16, 2.0 ** 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
  """One client after its local epochs.

  Attributes:
    start: The trainable weights before the first step, the server's unless others were given.
    weights: Those after the last step.
    steps: int32 [], how many there were.
    examples: int64 [], over all steps; an example counts once an epoch.
    metrics: Sums over those examples, float64 [], named as in `quantities`.
    carried: What the gradient change carried out of the last step.
  """
  start: Sequence[tf.Tensor]
  weights: Sequence[tf.Tensor]
  steps: tf.Tensor
  examples: tf.Tensor
  metrics: Mapping[str, tf.Tensor]
  carried: Any

  def update(self) -> list[tf.Tensor]:
    """Returns the weights before minus those after: TFF's sign, a gradient that the server's optimizer descends."""
    return [before - after for before, after in zip(self.start, self.weights, strict=True)]


def plain_gradient(carried, gradients, weights, server_weights):
  """The gradient of the client's loss: FedAvg."""
  del weights, server_weights
  return carried, gradients


def descend(task: tasks.Task, optimizer: tff.learning.optimizers.Optimizer,
            server_weights: tff.learning.models.ModelWeights, dataset: tf.data.Dataset, *,
            change: GradientChange = plain_gradient, carried: Any = (), start: Sequence[tf.Tensor] | None = None,
            beside: Beside | None = None, loss: BatchLoss | None = None) -> Trained:
  """Trains from `server_weights` on the client in `dataset`; call it inside a `tff.tensorflow.computation`.

  Args:
    dataset: Of one element, as `task.client_dataset` makes it.
    change: Traced once, in the body of a loop: it may use tensors from outside, and what differs from step to step
      is in `carried`.
    carried: What `change` gets in the first step: a structure of tensors whose shapes and types stay.
    start: Trainable weights to begin with instead.
    loss: What is descended in place of the task's loss; also what is measured. Traced once, like `change`.
    beside: What else is done with each batch; it sees what `change` carries first. Traced once, like `change`.
  """
  model = task.training_model()
  weights = tff.learning.models.ModelWeights.from_model(model)
  trainable, server_trainable = list(weights.trainable), list(server_weights.trainable)
  start = server_trainable if start is None else list(start)

  @tf.function
  def run(server_weights, carried):
    for weight, value in zip([*trainable, *weights.non_trainable], [*start, *server_weights.non_trainable],
                             strict=True):
      weight.assign(value)
    client = task.batch_reader.open(dataset)
    state = optimizers.initial_state(optimizer, trainable)
    sums = tf.zeros([2], tf.float64)
    for index in tf.range(client.num_batches):
      x, y = client.batch(index)
      gradients, measured = _gradients(task, model, trainable, x, y, loss)
      if beside is not None:
        carried = beside(carried, x, y, trainable)
      carried, gradients = change(carried, gradients, trainable, server_trainable)
      state = optimizers.step_in_place(optimizer, state, trainable, gradients)
      sums += measured
    examples = tf.cast(client.num_examples, tf.int64) * task.client.client_epochs
    return [w.read_value() for w in trainable], client.num_batches, examples, sums, carried

  trained, steps, examples, sums, carried = run(server_weights, carried)
  examples_seen = tf.cast(examples, tf.float64)
  accuracy = tf.clip_by_value(tf.math.divide_no_nan(sums[1], examples_seen), 0.0, 1.0)
  metrics = collections.OrderedDict(
      loss=sums[0], correct=sums[1], examples=examples_seen, accuracy_steps=tf.round(accuracy * ACCURACY_STEPS))
  return Trained(start=start, weights=trained, steps=steps, examples=examples, metrics=metrics, carried=carried)


def gradient_at(task: tasks.Task, server_weights: tff.learning.models.ModelWeights
                ) -> Callable[[Sequence[tf.Tensor], tf.Tensor, tf.Tensor], Sequence[tf.Tensor]]:
  """Returns a function of (trainable weights, model input, labels): the gradient of the batch's mean loss there.

  Call this one inside a `tff.tensorflow.computation` and outside of the loop: it makes a model.
  """
  model = task.training_model()
  weights = tff.learning.models.ModelWeights.from_model(model)

  def gradient(at, x, y):
    for weight, value in zip([*weights.trainable, *weights.non_trainable], [*at, *server_weights.non_trainable],
                             strict=True):
      weight.assign(value)
    return _gradients(task, model, list(weights.trainable), x, y)[0]

  return gradient


def mean_loss(task: tasks.Task, trainable: Sequence[tf.Tensor], server_weights: tff.learning.models.ModelWeights,
              dataset: tf.data.Dataset) -> tf.Tensor:
  """Returns the mean loss of a model over the client's examples, its regularisers' part included, float64 [].

  Call it inside a `tff.tensorflow.computation`.
  """
  model = task.training_model()
  weights = tff.learning.models.ModelWeights.from_model(model)

  @tf.function
  def run(trainable, non_trainable):
    for weight, value in zip([*weights.trainable, *weights.non_trainable], [*trainable, *non_trainable], strict=True):
      weight.assign(value)
    client, total = task.batch_reader.open(dataset), tf.constant(0.0, tf.float64)
    size = task.client.batch_size
    for first in tf.range(0, client.num_examples, size):
      x, y = client.batch(first // size)
      # The batches run on into the next epoch: of the last one, only what belongs to the first epoch counts.
      count = tf.minimum(size, client.num_examples - first)
      loss, _ = _loss(task, model, x[:count], y[:count], training=False)
      total += tf.cast(loss, tf.float64) * tf.cast(count, tf.float64)
    return tf.math.divide_no_nan(total, tf.cast(client.num_examples, tf.float64))

  return run(list(trainable), list(server_weights.non_trainable))


def quantities(examples: int) -> Mapping[told.Measured, Mapping[str, told.Quantity]]:
  """Returns which of `Trained.metrics` are for what, and their ranges.

  Args:
    examples: The most that a client sees in a round; public.
  """
  return {
      told.Measured.EXACT: collections.OrderedDict(
          loss=told.fixed_point(-LARGEST_LOSS * examples, LARGEST_LOSS * examples, LOSS_STEP, open_ended=True),
          correct=told.fixed_point(0, examples, LOSS_STEP), examples=told.whole(examples)),
      # What one client moves by no more than a known amount.
      told.Measured.NOISED: collections.OrderedDict(accuracy_steps=told.whole(ACCURACY_STEPS)),
      told.Measured.NOTHING: {}}


def summary(sums: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
  """Returns what is said of sums over clients of one kind of `quantities`.

  Exact: the mean loss and accuracy over all clients' examples, and their number. To be noised: the number of clients,
  and the sum of their accuracies in whole steps of 1 / ACCURACY_STEPS.

  Args:
    sums: float64 []; `clients` is their number.
  """
  found = collections.OrderedDict()
  if 'examples' in sums:
    mean = lambda total: tf.cast(tf.math.divide_no_nan(total, sums['examples']), tf.float32)
    found |= collections.OrderedDict(loss=mean(sums['loss']), accuracy=mean(sums['correct']),
                                     num_examples=tf.cast(sums['examples'], tf.int64))
  if 'accuracy_steps' in sums:
    found |= collections.OrderedDict(clients=tf.cast(sums['clients'], tf.int64),
                                     accuracy_steps=tf.cast(sums['accuracy_steps'], tf.int64))
  return found


def added_up(numbers: tff.FederatedType, summary: Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]) -> Any:
  """Returns `summary` of clients' numbers, added up in the clear; called while TFF traces.

  Args:
    numbers: float64 [] of each client, named.
  """
  @tff.tensorflow.computation(numbers.type_signature.member, np.float64)
  def finish(sums, clients):
    return summary(collections.OrderedDict(sums, clients=clients))

  return tff.federated_map(finish, tff.federated_sum((numbers, tff.federated_value(np.float64(1), tff.CLIENTS))))


def _gradients(task, model, trainable, x, y, loss_of=None):
  """Returns the gradient of the mean loss over a batch, and (sum of losses, number of right answers)."""
  with tf.GradientTape() as tape:
    loss, logits = _loss(task, model, x, y, training=True, loss_of=loss_of)
  count = tf.cast(tf.shape(y)[0], tf.float64)
  return tape.gradient(loss, trainable), tf.stack([tf.cast(loss, tf.float64) * count, task.objective.right(logits, y)])


def _loss(task, model, x, y, *, training, loss_of=None):
  """Returns the mean loss of a batch, with what the model's layers add to it, and the outputs."""
  logits, added = added_losses.call(model, x, training=training)
  loss = task.loss_fn(y, logits) if loss_of is None else loss_of(model, x, y, logits)
  return tf.add_n([loss, *added, *added_losses.of_weights(model)]), logits


def all_finite(parts: Sequence[tf.Tensor]) -> tf.Tensor:
  """Returns whether all numbers of all floating tensors are, bool []; runs on clients and server.

  A sum of squares is finite only if each of them is. One that is not may come from numbers whose squares leave the
  range of float32: only then each is looked at.
  """
  squares = tf.add_n([tf.constant(0.0), *(tf.cast(tf.nn.l2_loss(part), tf.float32) for part in parts)])
  return tf.cond(tf.math.is_finite(squares), lambda: tf.constant(True),
                 lambda: tf.reduce_all([tf.reduce_all(tf.math.is_finite(part)) for part in parts]))
