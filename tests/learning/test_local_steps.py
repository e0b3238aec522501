"""The loop of local training against numpy: optimizers, partial batches, carried state, clients without examples."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests import tiny
from tff_vision import configs
from tff_vision.learning import local_steps, optimizers

RATE = 0.1
NAMES = ('sgd', 'sgdm', 'adam')


def gradient(x, y, kernel, bias):
  flat = x.reshape(len(x), -1).astype(np.float64)
  logits = flat @ kernel + bias
  p = np.exp(logits - logits.max(1, keepdims=True))
  error = p / p.sum(1, keepdims=True) - np.eye(3)[y]
  return flat.T @ error / len(x), error.mean(0)


def by_hand(task, client, name):
  """Returns the weights after the client's batches; Adam as in Kingma and Ba 2015, section 2, its last paragraph."""
  weights = [np.float64(w) for w in task.initial_weights().trainable]
  first, second = ([np.zeros_like(w) for w in weights] for _ in range(2))
  for step, (x, y) in enumerate(task.client_batches(client, 1).as_numpy_iterator(), start=1):
    g = gradient(x, y, *weights)
    if name == 'adam':
      first = [0.9 * m + 0.1 * d for m, d in zip(first, g, strict=True)]
      second = [0.999 * v + 0.001 * d**2 for v, d in zip(second, g, strict=True)]
      rate = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
      weights = [w - rate * m / (np.sqrt(v) + 1e-7) for w, m, v in zip(weights, first, second, strict=True)]
    else:
      first = [(0.9 if name == 'sgdm' else 0.0) * m + d for m, d in zip(first, g, strict=True)]
      weights = [w - RATE * m for w, m in zip(weights, first, strict=True)]
  return weights


@pytest.mark.usefixtures('tff_runtime')
def test_every_client_optimizer_a_carried_state_and_a_client_without_examples():
  task = tiny.task(sizes=(7, 0, 6), client_epochs=3)  # Batches of 4: 21 examples end in a batch of one.

  def counted(carried, gradients, weights, server_weights):
    del weights, server_weights
    return carried + 1, gradients

  @tff.tensorflow.computation(task.weights_type,
                              tff.SequenceType(tff.types.tensorflow_to_type(task.batch_reader.element_spec)))
  def train(server_weights, dataset):
    found = []
    for name in NAMES:
      optimizer = optimizers.CLIENT_OPTIMIZERS[name](RATE, configs.ClientConfig())
      trained = local_steps.descend(task, optimizer, server_weights, dataset, change=counted, carried=np.int32(0))
      found.append((trained.update(), trained.steps, trained.examples, trained.carried, trained.metrics))
    return found

  start = task.initial_weights()
  for client, (steps, examples) in enumerate([(6, 21), (0, 0), (5, 18)]):
    for name, found in zip(NAMES, train(start, task.client_dataset(client, 1)), strict=True):
      update, *counts, metrics = found
      assert [int(count) for count in counts] == [steps, examples, steps], name
      assert metrics['examples'] == examples
      for before, moved, expected in zip(start.trainable, update, by_hand(task, client, name), strict=True):
        np.testing.assert_allclose(before - moved, expected, atol=3e-5, err_msg=name)


def regularised(input_shape, num_classes):
  return tf.keras.Sequential([
      tf.keras.layers.Input(input_shape), tf.keras.layers.Flatten(activity_regularizer=tf.keras.regularizers.L2(0.3)),
      tf.keras.layers.Dense(num_classes, kernel_regularizer=tf.keras.regularizers.L2(2.0))])


@pytest.mark.usefixtures('tff_runtime')
def test_regularisers_count_once_in_training_and_in_the_loss_by_which_a_client_chooses():
  task = tiny.task(builder=regularised, client_epochs=1, batch_size=5)

  @tff.tensorflow.computation(task.weights_type,
                              tff.SequenceType(tff.types.tensorflow_to_type(task.batch_reader.element_spec)))
  def work(server_weights, dataset):
    at = list(server_weights.trainable)
    trained = local_steps.descend(task, optimizers.PlainSgd(RATE), server_weights, dataset)
    return (trained.update(), local_steps.mean_loss(task, at, server_weights, dataset))

  start = task.initial_weights()
  weights = [np.float64(w) for w in start.trainable]
  kernel, bias = weights
  update, loss = work(start, task.client_dataset(1, 1))
  plain, activity = 0.0, 0.0
  for x, y in task.client_batches(1, 1).as_numpy_iterator():
    flat = np.float64(x).reshape(len(x), -1)
    logits = flat @ kernel + bias  # At the start.
    plain += (np.log(np.exp(logits).sum(1)) - logits[range(len(y)), y]).sum()
    activity += 0.3 * (flat ** 2).sum()
    steps = [g + (4.0 * w if w.ndim == 2 else 0) for g, w in zip(gradient(x, y, *weights), weights, strict=True)]
    weights = [w - RATE * g for w, g in zip(weights, steps, strict=True)]
  for moved, before, after in zip(update, (kernel, bias), weights, strict=True):
    np.testing.assert_allclose(moved, before - after, atol=3e-5)
  examples = task.images.train.num_examples(1)
  assert loss == pytest.approx((plain + activity) / examples + 2.0 * (kernel ** 2).sum(), rel=1e-4)
