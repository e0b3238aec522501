"""Loss scales: the rule of Keras, and what a skipped step leaves as it was."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests import tiny
from tests.learning import tiny_experiments
from tff_vision import configs
from tff_vision.learning import local_steps, loss_scales


def test_a_dynamic_scale_is_that_of_keras(monkeypatch):
  monkeypatch.setattr(loss_scales, '_GROWS_AFTER', 3)
  keras = tf.keras.mixed_precision.LossScaleOptimizer(
      tf.keras.optimizers.SGD(0.0), initial_scale=2.0 ** 15, dynamic_growth_steps=3)
  weight = tf.Variable(1.0)
  rng, state, seen = np.random.default_rng(0), loss_scales.first('dynamic'), set()
  for _ in range(120):
    assert float(state[0]) == float(keras.loss_scale)
    seen.add(float(state[0]))
    is_finite = bool(rng.random() < 0.7)
    keras.apply_gradients([(tf.constant(1.0 if is_finite else np.inf), weight)])
    state = loss_scales.following('dynamic', state, tf.constant(is_finite))
  assert len(seen) > 4
  for _ in range(20):
    state = loss_scales.following('dynamic', state, tf.constant(False))
  assert float(state[0]) == 1.0
  for _ in range(3 * 40):
    state = loss_scales.following('dynamic', state, tf.constant(True))
  assert float(state[0]) == 2.0 ** 24


def test_a_fixed_scale_stays():
  state = loss_scales.first('1024')
  assert float(loss_scales.following('1024', state, tf.constant(False))[0]) == 1024.0


@pytest.mark.parametrize('scale', ['0', '3', '-2', 'Dynamic', '33554432', '1e3', ''])
def test_no_other_scale(scale):
  words = f"loss_scale must be dynamic or a power of two from 1 to 16777216, found '{scale}'"
  with pytest.raises(ValueError, match=words):
    configs.ClientConfig(loss_scale=scale)


def training(scale):
  """Returns `descend` over 3 batches of 4 examples, as a function of the batches in which the loss is infinite."""
  task = tiny.task(sizes=(12,), client_epochs=1, loss_scale=scale)

  @tff.tensorflow.computation(task.weights_type, tff.SequenceType(
      tff.types.tensorflow_to_type(task.batch_reader.element_spec)), tff.TensorType(np.bool_, [3]))
  def run(weights, dataset, spoiled):
    batch = tf.Variable(-1)

    def loss(model, x, y, outputs):
      del model, x
      return tf.where(spoiled[batch.assign_add(1)], np.inf, 1.0) * task.loss_fn(y, outputs)

    def count(carried, gradients, weights, server):
      del weights, server
      return carried + 1, gradients

    found = local_steps.descend(task, tff.learning.optimizers.build_sgdm(0.1, momentum=0.5), weights, dataset,
                                loss=loss, change=count, carried=tf.constant(0))
    return collections.OrderedDict(weights=found.weights, steps=found.steps, carried=found.carried, **found.metrics)

  examples = task.images.train.examples(0)
  element = task.batch_reader.element(examples.x, examples.y, seed=3)
  return lambda *spoiled: run(task.initial_weights(), element, np.isin(range(3), spoiled))


def test_a_skipped_step_leaves_everything_as_it_was(tff_runtime):
  del tff_runtime
  flat, dynamic = tiny_experiments.flat, training('dynamic')
  plain, scaled, one, none = training(None)(), dynamic(), dynamic(0), dynamic(0, 1, 2)
  np.testing.assert_array_equal(flat(scaled['weights']), flat(plain['weights']))  # Powers of two are exact.
  assert (scaled['steps'], scaled['skipped'], scaled['examples']) == (3, 0, 12)
  assert (one['steps'], one['skipped'], one['carried'], one['examples']) == (2, 1, 2, 8)
  assert np.isfinite(one['loss']) and np.isfinite(flat(one['weights'])).all()
  assert (none['steps'], none['skipped'], none['carried'], none['loss']) == (0, 3, 0, 0)
  start = flat(tiny.task(sizes=(12,)).initial_weights().trainable)
  np.testing.assert_array_equal(flat(none['weights']), start)
  assert not np.array_equal(flat(one['weights']), start)
