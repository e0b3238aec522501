"""Local training: minibatch gradient descent over the examples of one client, from the server's weights.

All client work trains through `descend`. An algorithm changes the gradient, and may carry a state from step to step.
The loop runs inside the client's graph and updates the weights in place.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import passes, tasks, told
from tff_vision.data import batches
from tff_vision.learning import loss_scales, optimizers
from tff_vision.models import added_losses

# (carried, model input, labels, weights) -> carried; called before a step, with the weights at the start of the step.
# With mixup, labels are `batches.MixedLabels`, which `gradient_at` takes.
Beside = Callable[[Any, tf.Tensor, tf.Tensor | batches.MixedLabels, Sequence[tf.Variable]], Any]
# (model, model input, labels, outputs) -> the batch's loss, [], which replaces the task's loss; the model's own
# regularisation losses are added to it. The outputs are those of the model in training mode.
BatchLoss = Callable[[tf.keras.Model, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
# (carried, gradients, weights, the server's weights) -> (carried, gradients); all but `carried` are sequences of
# tensors in the shapes of the model's trainable weights.
GradientChange = Callable[[Any, Sequence[tf.Tensor], Sequence[tf.Variable], Sequence[tf.Tensor]],
                          tuple[Any, Sequence[tf.Tensor]]]


# The same resolution as the grid of private sums, `privacy.noise.integer_grid`; a test checks that both are equal.
ACCURACY_STEPS = 2 ** 20
# Resolution and bound of the sum of a client's losses that is sent with a hidden update; no larger mean loss is
# reported.
LOSS_STEP, LARGEST_LOSS = 2.0 ** -16, 2.0 ** 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
  """One client after its local epochs.

  Attributes:
    start: The trainable weights before the first step, the server's unless others were given.
    weights: Those after the last step.
    steps: int32 [], the number of steps that were made.
    examples: int64 [], the number of examples over all batches; an example counts once per epoch.
    metrics: Sums over the examples of these steps, float64 [], named as in `quantities`.
    carried: The `carried` value of the gradient change after the last step.
    statistics: The weights that are not trained after the last step: moving statistics among them have moved. Empty
      unless the task has personal layers.
  """
  start: Sequence[tf.Tensor]
  weights: Sequence[tf.Tensor]
  steps: tf.Tensor
  examples: tf.Tensor
  metrics: Mapping[str, tf.Tensor]
  carried: Any
  statistics: Sequence[tf.Tensor] = ()

  def update(self) -> list[tf.Tensor]:
    """Returns the weights before minus the weights after training.

    This is TFF's sign: the server's optimizer uses the update as a gradient.
    """
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
    dataset: A data set of one element, as `task.client_dataset` makes it.
    change: The change of the gradient. It is traced once, in the body of a loop: it may use tensors from outside, and
      values that differ from step to step must be in `carried`.
    carried: The input of `change` in the first step: a structure of tensors whose shapes and types do not change.
    start: The trainable weights at the start, instead of the server's.
    loss: The loss that is minimised and measured instead of the task's loss. Traced once, like `change`.
    beside: An additional computation on each batch; it receives `carried` before `change` does. Traced once, like
      `change`.
  """
  model = task.training_model()
  weights = tff.learning.models.ModelWeights.from_model(model)
  trainable, server_trainable = list(weights.trainable), list(server_weights.trainable)
  start = server_trainable if start is None else list(start)
  scaling = task.client.loss_scale

  @tf.function
  def run(server_weights, carried):
    for weight, value in zip([*trainable, *weights.non_trainable], [*start, *server_weights.non_trainable],
                             strict=True):
      weight.assign(value)
    client = task.batch_reader.open(dataset)
    state = optimizers.initial_state(optimizer, trainable)
    sums, skipped = tf.zeros([2], tf.float64), tf.zeros([2], tf.int32)  # Of the latter: steps, and their examples.
    scale = () if scaling is None else loss_scales.first(scaling)

    def step(carried, state, gradients):
      carried, gradients = change(carried, gradients, trainable, server_trainable)
      return carried, optimizers.step_in_place(optimizer, state, trainable, gradients)

    for index in tf.range(client.num_batches):
      x, y = client.mixed_batch(index)
      gradients, measured = _gradients(task, model, trainable, x, y, loss, *scale[:1])
      if beside is not None:
        carried = beside(carried, x, y, trainable)
      if scaling is None:
        carried, state = step(carried, state, gradients)
      else:
        made = all_finite(gradients)
        scale = loss_scales.following(scaling, scale, made)
        if made:
          carried, state = step(carried, state, gradients)
        else:
          skipped, measured = skipped + tf.stack([1, tf.shape(x)[0]]), tf.zeros_like(measured)
      sums += measured
    examples = tf.cast(client.num_examples, tf.int64) * task.client.client_epochs
    moved = [] if task.personal_layers is None else [w.read_value() for w in weights.non_trainable]
    return [w.read_value() for w in trainable], client.num_batches, examples, sums, skipped, carried, moved

  trained, steps, examples, sums, skipped, carried, moved = run(server_weights, carried)
  examples_seen = tf.cast(examples, tf.float64)
  if scaling is not None:
    steps, examples_seen = steps - skipped[0], examples_seen - tf.cast(skipped[1], tf.float64)
  accuracy = tf.clip_by_value(tf.math.divide_no_nan(sums[1], examples_seen), 0.0, 1.0)
  metrics = collections.OrderedDict(
      loss=sums[0], correct=sums[1], examples=examples_seen, accuracy_steps=tf.round(accuracy * ACCURACY_STEPS),
      skipped=tf.cast(skipped[0], tf.float64))
  return Trained(start=start, weights=trained, steps=steps, examples=examples, metrics=metrics, carried=carried,
                 statistics=moved)


def gradient_at(task: tasks.Task, server_weights: tff.learning.models.ModelWeights
                ) -> Callable[[Sequence[tf.Tensor], tf.Tensor, tf.Tensor], Sequence[tf.Tensor]]:
  """Returns a function from (trainable weights, model input, labels) to the gradient of the batch's mean loss.

  Call `gradient_at` inside a `tff.tensorflow.computation` and outside the loop, because it makes a model.

  Raises:
    ValueError: The loss is scaled, and nothing would skip a step along such a gradient that is not finite.
  """
  if task.client.loss_scale is not None:
    raise ValueError(f'loss_scale={task.client.loss_scale} does not go with an algorithm that takes gradients beside '
                     'those of its steps.')
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
  """Returns the mean loss of a model over the client's examples, including its regularisation losses, float64 [].

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
      # Batches continue across the end of an epoch: in the last batch, only examples of the first epoch count.
      count = tf.minimum(size, client.num_examples - first)
      loss, _ = _loss(task, model, x[:count], y[:count], training=False)
      total += tf.cast(loss, tf.float64) * tf.cast(count, tf.float64)
    return tf.math.divide_no_nan(total, tf.cast(client.num_examples, tf.float64))

  return run(list(trainable), list(server_weights.non_trainable))


def quantities(examples: int, *, scaled: bool = False) -> Mapping[told.Measured, Mapping[str, told.Quantity]]:
  """Returns, for each kind of measurement, the entries of `Trained.metrics` that belong to it, and their ranges.

  Args:
    examples: The largest number of examples that a client sees in a round; public.
    scaled: Whether clients scale their loss, and count the steps that they skip.
  """
  skipped = collections.OrderedDict(skipped=told.whole(examples)) if scaled else {}
  return {
      told.Measured.EXACT: collections.OrderedDict(
          skipped, loss=told.fixed_point(-LARGEST_LOSS * examples, LARGEST_LOSS * examples, LOSS_STEP, open_ended=True),
          correct=told.fixed_point(0, examples, LOSS_STEP), examples=told.whole(examples)),
      # Sums that one client can change by no more than a known amount.
      told.Measured.NOISED: collections.OrderedDict(accuracy_steps=told.whole(ACCURACY_STEPS)),
      told.Measured.NOTHING: {}}


def summary(sums: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
  """Returns the reported values for the sums over clients of one kind of `quantities`.

  For exact sums: the mean loss and accuracy over all clients' examples, the number of these examples, and that of the
  steps that were skipped because of a scaled loss. For sums to
  which noise is added: the number of clients, and the sum of their accuracies in whole steps of 1 / ACCURACY_STEPS.

  Args:
    sums: float64 []; `clients` is the number of clients.
  """
  found = collections.OrderedDict()
  if 'examples' in sums:
    mean = lambda total: tf.cast(tf.math.divide_no_nan(total, sums['examples']), tf.float32)
    found |= collections.OrderedDict(loss=mean(sums['loss']), accuracy=mean(sums['correct']),
                                     num_examples=tf.cast(sums['examples'], tf.int64))
  if 'skipped' in sums:
    found |= collections.OrderedDict(skipped_steps=tf.cast(sums['skipped'], tf.int64))
  if 'accuracy_steps' in sums:
    found |= collections.OrderedDict(clients=tf.cast(sums['clients'], tf.int64),
                                     accuracy_steps=tf.cast(sums['accuracy_steps'], tf.int64))
  return found


def added_up(numbers: tff.FederatedType, summary: Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]) -> Any:
  """Returns `summary` of the sums of the clients' numbers, added up in the clear; called while TFF traces.

  Args:
    numbers: The named numbers of each client, float64 [].
  """
  @tff.tensorflow.computation(numbers.type_signature.member, np.float64)
  def finish(sums, clients):
    return summary(collections.OrderedDict(sums, clients=clients))

  return tff.federated_map(finish, tff.federated_sum((numbers, tff.federated_value(np.float64(1), tff.CLIENTS))))


def _gradients(task, model, trainable, x, y, loss_of=None, factor=None):
  """Returns the gradient of the mean loss over a batch, and (sum of losses, number of correct predictions)."""
  with passes.training_pass():
    with tf.GradientTape() as tape:
      loss, logits = _loss(task, model, x, y, training=True, loss_of=loss_of)
      scaled = loss if factor is None else factor * loss
    # A weight that the loss does not depend on, as behind `tf.stop_gradient`, stays as it is.
    gradients = tape.gradient(scaled, trainable, unconnected_gradients=tf.UnconnectedGradients.ZERO)
  if factor is not None:
    gradients = [tf.convert_to_tensor(gradient) / factor for gradient in gradients]
  count = tf.cast(tf.shape(x)[0], tf.float64)
  right = _over_labels(y, lambda own: task.objective.right(logits, own))
  return gradients, tf.stack([tf.cast(loss, tf.float64) * count, right])


def _loss(task, model, x, y, *, training, loss_of=None):
  """Returns the mean loss of a batch, including the losses that the model's layers add, and the outputs."""
  logits, added = added_losses.call(model, x, training=training)
  loss = _over_labels(y, lambda own: task.loss_fn(own, logits) if loss_of is None else loss_of(model, x, own, logits))
  return tf.add_n([loss, *added, *added_losses.of_weights(model)]), logits


def _over_labels(y, of):
  return y.mean(of) if isinstance(y, batches.MixedLabels) else of(y)


def all_finite(parts: Sequence[tf.Tensor]) -> tf.Tensor:
  """Returns whether all numbers of all floating-point tensors are finite, bool []; runs on clients and server.

  A sum of squares is finite only if each number is finite. A sum that is not finite may also come from finite numbers
  whose squares exceed the range of float32; only in that case each number is checked.
  """
  parts = [part for part in parts if part.dtype.is_floating]
  squares = tf.add_n([tf.constant(0.0), *(tf.cast(tf.nn.l2_loss(part), tf.float32) for part in parts)])
  return tf.cond(tf.math.is_finite(squares), lambda: tf.constant(True),
                 lambda: tf.reduce_all([tf.reduce_all(tf.math.is_finite(part)) for part in parts]))
