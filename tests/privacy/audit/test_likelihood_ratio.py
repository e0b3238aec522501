"""Likelihood ratios by hand, and attacks on a model that has learned its examples by heart and on one that has not."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests import tiny
from tff_vision import configs
from tff_vision.audit import likelihood_ratio, membership, shadow_models
from tff_vision.data import images
from tff_vision.learning import evaluation


def test_confidences_are_the_logits_of_the_true_labels_probability():
  logits, y = np.random.default_rng(0).normal(0, 2, (6, 3)), np.array([0, 1, 2, 0, 1, 2])
  p = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[np.arange(6), y]
  np.testing.assert_allclose(likelihood_ratio.confidences(logits, y), np.log(p / (1 - p)))
  findings = np.float32(np.arange(18).reshape(6, 3) % 2)
  each = 1 / (1 + np.exp(-logits))
  p = np.where(findings > 0.5, each, 1 - each).prod(1)
  np.testing.assert_allclose(likelihood_ratio.confidences(logits, findings), np.log(p / (1 - p)))
  # Where float32 says p = 1.
  sure = np.float32([[300, 100, 0]])
  assert likelihood_ratio.confidences(sure, np.array([0])) == pytest.approx(200)
  assert likelihood_ratio.confidences(sure, np.ones((1, 3), np.float32))[0] == pytest.approx(0)  # p = 1/2 of the last.
  assert np.isfinite(likelihood_ratio.confidences(np.float32([[2000, 2000], [-2000, -2000]]), np.ones((2, 2)))).all()


def test_every_example_is_in_half_of_the_models():
  inside = likelihood_ratio.halves(9, 400, seed=3)
  assert (inside.sum(0) == 4).all() and inside.sum(1) == pytest.approx(400 * 4 / 9, abs=50)
  np.testing.assert_array_equal(inside, likelihood_ratio.halves(9, 400, seed=3))
  assert (inside != likelihood_ratio.halves(9, 400, seed=4)).any()
  with pytest.raises(ValueError, match='shadow_models=3'):
    likelihood_ratio.halves(3, 400, seed=0)


def test_the_ratio_by_hand():
  inside = np.array([[True, False], [True, False], [False, True], [False, True]])
  shadow = np.array([[4.0, 0.0], [6.0, 2.0], [1.0, 5.0], [1.0, 9.0]])
  # In: means 5 and 7, squares 2 + 8 over two degrees of freedom: variance 5. Out: means 1 and 1, squares 0 + 2: 1.
  by_hand = [(-0.5 * math.log(5) - (x - inner) ** 2 / 10) + (x - 1) ** 2 / 2 for x, inner in ((5.0, 5), (1.0, 7))]
  np.testing.assert_allclose(likelihood_ratio.log_ratios(np.array([5.0, 1.0]), shadow, inside), by_hand)


def test_many_models_give_each_example_its_own_variance():
  rng = np.random.default_rng(0)
  inside, spread = likelihood_ratio.halves(64, 5, seed=0), np.arange(1, 6)
  shadow = rng.normal(0, spread, (64, 5)) + 3 * inside
  expected = [stats.norm.logpdf(1, *(f(column[own]) for f in (np.mean, lambda v: np.std(v, ddof=1))))
              - stats.norm.logpdf(1, *(f(column[~own]) for f in (np.mean, lambda v: np.std(v, ddof=1))))
              for column, own in zip(shadow.T, inside.T, strict=True)]
  np.testing.assert_allclose(likelihood_ratio.log_ratios(np.ones(5), shadow, inside), expected)


def test_passes_of_a_run():
  config = configs.ExperimentConfig(client=configs.ClientConfig(client_epochs=3),
                                    cohort=configs.CohortConfig(cohort_size=5))
  assert shadow_models.passes(config, rounds=8, population=20) == 6
  assert shadow_models.passes(config, rounds=1, population=100) == 1 and shadow_models.passes(config, rounds=2,
                                                                                              population=3) == 6


SIZE = 150


def hidden(input_shape, num_classes):
  return tf.keras.Sequential([tf.keras.layers.Input(input_shape), tf.keras.layers.Flatten(),
                              tf.keras.layers.Dense(32, 'relu'), tf.keras.layers.Dense(num_classes)])


def mixed(seed):
  """Half can be told by their brightness; the labels of the others are random and can only be learned by heart."""
  rng = np.random.default_rng(seed)
  x = rng.integers(0, 256, (SIZE, 4, 4, 1)).astype(np.uint8)
  y = rng.integers(0, 3, SIZE).astype(np.int32)
  easy = rng.random(SIZE) < 0.5
  x[easy] = (100 * y[easy] + rng.integers(0, 30, (4, 4, easy.sum()))).T[:, :, :, np.newaxis].astype(np.uint8)
  return images.Examples(x, y)


def test_members_are_found_in_a_model_that_saw_them_and_not_in_another():
  task = tiny.task(hidden, batch_size=10)
  train = shadow_models.trainer(task, passes=120)
  evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing)
  members, others, strangers = mixed(1), mixed(2), mixed(3)
  pool = images.Examples(np.concatenate([members.x, others.x]), np.concatenate([members.y, others.y]))

  def logits(examples):
    train(examples, 1).assign_weights_to(evaluator.model)
    return evaluator.logits(pool.x)

  inside = likelihood_ratio.halves(8, len(pool), seed=0)
  shadow = np.array([likelihood_ratio.confidences(seen, pool.y)
                     for seen in shadow_models.logits(task, pool, inside, passes=120)])

  def attack(seen):
    ratios = -likelihood_ratio.log_ratios(likelihood_ratio.confidences(seen, pool.y), shadow, inside)
    losses = membership.example_losses(seen, task.loss_fn, pool.y)
    return [membership.attack(scores[:SIZE], scores[SIZE:], delta=1e-5) for scores in (ratios, losses)]

  ratio, loss = attack(logits(members))
  assert ratio.auc > 0.7 and ratio.auc > loss.auc and ratio.epsilon_low > 0
  assert ratio.true_positive_rate > loss.true_positive_rate
  unseen, _ = attack(logits(strangers))
  assert unseen.auc == pytest.approx(0.5, abs=0.1) and unseen.epsilon_low == 0
