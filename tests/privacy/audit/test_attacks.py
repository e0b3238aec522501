import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tff_vision.audit import inversion, membership


def test_losses_of_one_distribution_give_nothing_away():
  rng = np.random.default_rng(0)
  found = membership.attack(rng.normal(size=4000), rng.normal(size=4000), delta=1e-5)
  assert found.auc == pytest.approx(0.5, abs=0.03) and found.epsilon_low < 0.3
  assert found.true_positive_rate == pytest.approx(0.01, abs=0.01)


def test_members_with_lower_losses_are_found():
  rng = np.random.default_rng(0)
  found = membership.attack(rng.normal(-3, 1, size=4000), rng.normal(size=4000), delta=1e-5)
  # AUC of two normals three deviations apart: Phi(3 / sqrt 2).
  assert found.auc == pytest.approx(0.983, abs=0.01) and 2.5 < found.epsilon_low < 8
  with pytest.raises(ValueError, match='1 members'):
    membership.attack(np.zeros(1), np.zeros(5), delta=1e-5)


def test_the_lower_bound_is_one_sided_and_known():
  # Perfect attack on 1,000 each: about log(1000 / 3.7).
  assert membership.epsilon_low(1000, 1000, 0, 1000, 1e-5) == pytest.approx(np.log(0.9963 / 0.0036821), abs=0.01)
  assert membership.epsilon_low(0, 10, 0, 10, 1e-5) == 0.0
  # Randomised response at epsilon 1 must not be accused of more.
  rng = np.random.default_rng(3)
  rate = np.e / (1 + np.e)
  bounds = [membership.epsilon_low(rng.binomial(2000, rate), 2000, rng.binomial(2000, 1 - rate), 2000, 0.0)
            for _ in range(200)]
  assert np.mean(np.array(bounds) > 1.0) <= 0.05 and np.mean(bounds) > 0.8


def test_one_update_of_one_example_is_the_image():
  task = tiny.task()
  model, x = task.keras_model(), tiny.federated_images().train.examples(0)
  image = x.x[:1].astype(np.float32) / 255
  update = inversion.gradient(model, task.loss_fn, image, x.y[:1])
  np.testing.assert_allclose(inversion.reconstruct(model, update), image[0], atol=1e-5)
  blurred = inversion.reconstruct(model, inversion.noised(update, clip_norm=1.0, noise_multiplier=1.0, seed=0))
  assert np.corrcoef(blurred.ravel(), image.ravel())[0, 1] < 0.9
  hidden = inversion.reconstruct(model, inversion.masked(update))
  assert np.corrcoef(hidden.ravel(), image.ravel())[0, 1] < 0.95  # Sixteen pixels, a mask that is new in each run.
  with pytest.raises(ValueError, match='Conv2D'):
    inversion.first_dense(tf.keras.Sequential([tf.keras.layers.Input((4, 4, 1)), tf.keras.layers.Conv2D(2, 2)]))
