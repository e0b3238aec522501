"""What Keras layers add to the loss under private SGD: after the noise, clipped with an example, or refused."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.privacy.ghost import clipped
from tff_vision.privacy.mechanisms import example_work

L = tf.keras.layers
LOSS = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='none')
SPEC = tf.TensorSpec((None, 6))


def regularised():
  return tf.keras.Sequential([L.Input((6,)), L.Dense(5, 'tanh', kernel_regularizer=tf.keras.regularizers.L2(3.0)),
                              L.Dense(3, bias_regularizer='l1')])


def of_weights_in_a_lambda():
  model = tf.keras.Sequential([L.Input((6,)), L.Dense(5, 'tanh'), L.Dense(3)])
  model.add_loss(lambda: 3.0 * tf.reduce_sum(model.layers[0].kernel ** 2) + 0.01 * tf.reduce_sum(
      tf.abs(model.layers[1].bias)))
  return model


def batch(size=12):
  rng = np.random.default_rng(0)
  return tf.constant(rng.normal(size=(size, 6)), tf.float32), tf.constant(rng.integers(0, 3, size), tf.int32)


def step(model, clip, rate, ghost):
  """Returns the weights before and after one step of private SGD without noise, and the batch."""
  tf.keras.utils.set_random_seed(3)
  for weight in model.trainable_variables:
    weight.assign(tf.random.normal(weight.shape, stddev=0.5))
  x, y = batch()
  training = example_work.ExampleSgd(clip_norm=clip, noise_multiplier=0.0, batch_size=len(x), epochs=1,
                                     sampling='shuffled', ghost=ghost)
  start = tf.nest.map_structure(tf.identity, tff.learning.models.ModelWeights.from_model(model))
  update = example_work.build_train_fn(model, LOSS, tff.learning.optimizers.build_sgdm(rate), training)(
      start, x, y).update
  return start.trainable, [w0 - u for w0, u in zip(start.trainable, update, strict=True)]


def by_hand(model, start, clip, own_penalty=lambda hidden: 0.0):
  """Returns the mean of clipped gradients, one tape an example, at `start`."""
  for weight, value in zip(model.trainable_variables, start, strict=True):
    weight.assign(value)
  x, y = batch()
  total = [np.zeros(weight.shape) for weight in model.trainable_variables]
  for i in range(len(x)):
    with tf.GradientTape() as tape:
      hidden = model.layers[0](x[i:i + 1])
      loss = tf.reduce_sum(LOSS(y[i:i + 1], model.layers[1](hidden))) + own_penalty(hidden)
    found = [np.float64(part) for part in tape.gradient(loss, model.trainable_variables)]
    factor = min(1.0, clip / np.sqrt(sum((part ** 2).sum() for part in found)))
    total = [t + factor * part / len(x) for t, part in zip(total, found, strict=True)]
  return total


@pytest.mark.parametrize('ghost', [True, False])
@pytest.mark.parametrize('make', [regularised, of_weights_in_a_lambda])
def test_a_penalty_on_weights_is_added_after_the_noise_unclipped(make, ghost):
  model = make()
  assert clipped.examine(model, SPEC).ghost
  start, after = step(model, clip=0.1, rate=0.25, ghost=ghost)
  kernel, bias = np.float64(start[0]), np.float64(start[3])
  expected = by_hand(model, start, clip=0.1)
  expected[0] += 6.0 * kernel  # Far beyond any clip.
  expected[3] += 0.01 * np.sign(bias)
  for w0, w, g in zip(start, after, expected, strict=True):
    np.testing.assert_allclose(w, w0 - 0.25 * g, atol=1e-5)


@pytest.mark.parametrize('layer', [L.Dense(5, 'tanh', activity_regularizer=tf.keras.regularizers.L2(20.0))])
def test_a_penalty_on_outputs_is_clipped_with_its_example(layer):
  model = tf.keras.Sequential([L.Input((6,)), layer, L.Dense(3)])
  method = clipped.examine(model, SPEC)
  assert not method.ghost and layer.name in method.reason
  start, after = step(model, clip=5.0, rate=0.25, ghost=method.ghost)
  expected = by_hand(model, start, 5.0, lambda hidden: 20.0 * tf.reduce_sum(hidden ** 2))
  without = by_hand(model, start, 5.0)
  for w0, w, g in zip(start, after, expected, strict=True):
    np.testing.assert_allclose(w, w0 - 0.25 * g, atol=1e-5)
  assert max(np.abs(one - other).max() for one, other in zip(expected, without, strict=True)) > 0.1


def test_its_gradient_is_bounded_too():
  model = tf.keras.Sequential([L.Input((6,)), L.Dense(
      5, activity_regularizer=tf.keras.regularizers.L2(1e6)), L.Dense(3)])
  x, y = batch()
  for i in range(3):
    found = clipped.clipped_sum(model, LOSS, x[i:i + 1], y[i:i + 1], 0.1, tf.ones(1), ghost=False)
    assert np.sqrt(sum((np.float64(g) ** 2).sum() for g in found.gradients)) <= 0.1


class Decorrelating(L.Layer):
  """Adds what a batch's examples have in common to the loss."""

  def call(self, inputs):
    self.add_loss(tf.reduce_sum(tf.reduce_mean(inputs, 0) ** 2))
    return inputs


class Regularising(L.Dense):
  """Has a regulariser of its outputs, and a loss of its own beside it."""

  def call(self, inputs):
    self.add_loss(tf.reduce_mean(inputs))
    return super().call(inputs)


class Measuring(L.Layer):

  def call(self, inputs):
    self.add_metric(tf.reduce_mean(inputs), name='level')
    return inputs


def with_loss_of_tensors():
  inputs = L.Input((6,))
  hidden = L.Dense(4)(inputs)
  model = tf.keras.Model(inputs, L.Dense(3)(hidden))
  model.add_loss(tf.reduce_mean(hidden))
  return model


def with_metric_of_tensors():
  inputs = L.Input((6,))
  hidden = L.Dense(4)(inputs)
  model = tf.keras.Model(inputs, L.Dense(3)(hidden))
  model.add_metric(hidden, name='level')
  return model


class Looking(L.Layer):
  """Adds a loss that pretends to be of weights alone."""

  def call(self, inputs):
    self.add_loss(lambda: tf.reduce_mean(inputs))
    return inputs


REFUSED = {
    'a loss over the batch': (lambda: tf.keras.Sequential([L.Input((6,)), Decorrelating(name='common'), L.Dense(3)]),
                              'layer common adds a loss'),
    'a loss beside a regulariser': (lambda: tf.keras.Sequential([L.Input((6,)), Regularising(
        3, activity_regularizer='l2', name='both')]), 'layer both adds a loss'),
    'a loss of tensors': (with_loss_of_tensors, 'adds a loss'),
    'a metric': (lambda: tf.keras.Sequential([L.Input((6,)), Measuring(name='meter'), L.Dense(3)]),
                 'layer meter measures'),
    'a metric of tensors': (with_metric_of_tensors, 'measures'),
    'a function of inputs': (lambda: tf.keras.Sequential([L.Input((6,)), Looking(), L.Dense(3)]), 'more than weights'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_no_clip_bounds_is_refused_by_name(name):
  make, message = REFUSED[name]
  with pytest.raises(ValueError, match=message):
    clipped.examine(make(), SPEC)
