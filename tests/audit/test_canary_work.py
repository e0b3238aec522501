"""What canaries add in a client's own computation."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.privacy import canaries
from tff_vision.privacy.mechanisms import example_work
from tff_vision.privacy.noise import integer_grid


@pytest.mark.parametrize('sampling', ['poisson', 'shuffled'])
def test_an_example_that_is_a_canary_adds_its_direction_clipped_and_an_empty_slot_counts_as_an_example(sampling):
  model = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(3)])
  start = tf.nest.map_structure(tf.identity, tff.learning.models.ModelWeights.from_model(model))
  x = tf.constant(np.random.default_rng(0).normal(size=(5, 4)), tf.float32)
  clip, rate, number = 0.7, 0.5, 6
  training = example_work.ExampleSgd(clip_norm=clip, noise_multiplier=0.0, batch_size=100, epochs=1, sampling=sampling,
                                     ghost=True)
  loss = tf.keras.losses.SparseCategoricalCrossentropy(True, reduction='none')
  train = example_work.build_train_fn(model, loss, tff.learning.optimizers.build_sgdm(rate), training, number)

  def update(slots):
    return np.concatenate([np.ravel(part) for part in train(
        start, x, tf.zeros([5], tf.int32), tf.constant(slots, tf.int32)).update])

  empty = update([-1, -1, -1])
  added = canaries.projections(update([4, -1, 2]) - empty, number) * 8 / (rate * clip)  # Of eight examples.
  np.testing.assert_allclose(added, [0, 0, 1, 0, 1, 0], atol=2e-5 + math.sqrt(15) / integer_grid.STEPS)
  with_none = np.concatenate([np.ravel(part) for part in example_work.build_train_fn(
      model, loss, tff.learning.optimizers.build_sgdm(rate), training)(start, x, tf.zeros([5], tf.int32)).update])
  np.testing.assert_allclose(empty * 8, with_none * 5, atol=1e-5)
