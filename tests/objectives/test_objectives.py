"""Losses and measures of tasks beyond classification, against arithmetic by hand and scikit-learn."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tests import built, tiny
from tff_vision import configs
from tff_vision.configs import data_config, model_config, task_config
from tff_vision.models import MODELS
from tff_vision.objectives import anomaly, base, embedding


def contrast(vectors, y):
  """Supervised contrastive losses one by one, as the paper writes them."""
  losses = []
  for i in range(len(y)):
    others = [j for j in range(len(y)) if j != i]
    alike = {j: vectors[i] @ vectors[j] / 0.1 for j in others}
    positives = [j for j in others if y[j] == y[i]]
    total = np.log(sum(np.exp(value) for value in alike.values())) if others else 0
    known = positives and len(positives) < len(others)
    losses.append(-np.mean([alike[j] - total for j in positives]) if known else 0.0)
  return np.array(losses)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=9), st.integers(0, 100))
def test_contrast_is_the_papers_and_what_teaches_nothing_adds_nothing(y, seed):
  vectors = np.random.default_rng(seed).normal(size=(len(y), 5)).astype(np.float32)
  vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
  y = np.array(y, np.int32)
  found = embedding.InBatchContrast(tf.keras.losses.Reduction.NONE)(y, vectors).numpy()
  if len(set(y)) == 1:
    np.testing.assert_array_equal(found, 0)
  else:
    # Others only of its own class, and yet another class in the batch, cannot be: all the rest are its others.
    np.testing.assert_allclose(found, contrast(vectors, y), rtol=1e-4, atol=1e-4)


def test_embeddings_are_measured_over_all_pairs_and_within_clients():
  rng = np.random.default_rng(0)
  y = np.repeat(np.arange(6), 5).astype(np.int32)
  vectors = rng.normal(size=(30, 4)) + 1.5 * rng.normal(size=(6, 4))[y]
  vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
  same, alike = zip(*((y[i] == y[j], vectors[i] @ vectors[j]) for i in range(30) for j in range(i)), strict=True)
  same, alike = np.array(same), np.array(alike)
  learned = embedding.Embedding(num_outputs=4)
  found = learned.measure(vectors, y)
  numbers = found['evaluation']
  assert numbers['auc'] == pytest.approx(metrics.roc_auc_score(same, alike), abs=1e-6)
  assert (numbers['pairs'], numbers['same_pairs']) == (435, 60)
  assert numbers['true_accept_rate_at_0.1'] == pytest.approx((alike[same] > np.sort(alike[~same])[-38]).mean())
  # At the threshold of model.json both errors are the equal error rate, but for the steps of finite samples.
  threshold = learned.yardstick(vectors, y)['threshold']
  assert (alike[~same] > threshold).mean() == pytest.approx(numbers['equal_error_rate'], abs=1 / 150)
  assert (alike[same] <= threshold).mean() == pytest.approx(numbers['equal_error_rate'], abs=1 / 30)
  values = learned.client_values(vectors, y, [np.arange(10), np.arange(5), np.zeros(0, int)])
  within = [(y[i] == y[j], vectors[i] @ vectors[j]) for i in range(10) for j in range(i)]
  assert values == [pytest.approx(metrics.roc_auc_score(*zip(*within, strict=True)), abs=1e-6), None, None]


@pytest.mark.parametrize(('gap', 'rate'), [(np.inf, 0.0), (0.0, 0.5), (-np.inf, 1.0)])
def test_equal_error_rates_of_extremes(gap, rate):
  same = np.arange(20) < 10
  scores = np.where(same, gap, 0.0) if np.isinf(gap) else np.zeros(20)
  assert embedding.equal_error_rate(same, np.nan_to_num(scores, posinf=1.0, neginf=-1.0)) == pytest.approx(rate)


def test_an_anomaly_is_the_largest_smoothed_difference_and_training_is_on_the_mean_square():
  identity = lambda shape, outputs: tf.keras.Sequential(
      [tf.keras.layers.Input(shape), tf.keras.layers.ReLU()], name='id')
  learned = anomaly.Anomaly(normal=0)
  model = learned.keras_model(identity, (32, 32, 1))
  x = np.zeros((2, 32, 32, 1), np.float32)
  x[1, 3, 4:6] = -1  # ReLU does not repeat what is negative. Boxes of two pixels, twice, weigh 1/4, 1/2, 1/4 a side.
  np.testing.assert_allclose(model(x), [[0, 0], [2 / 1024, (1 / 2 * 3 / 4)**2]], atol=1e-6)
  assert learned.loss_fn(np.zeros(2), model(x)).numpy() == pytest.approx(1 / 1024)
  with pytest.raises(ValueError, match='returns images'):
    learned.keras_model(tiny.linear, (4, 4, 1))


def test_anomaly_scores_are_ranked_against_every_other_class():
  rng = np.random.default_rng(1)
  y = rng.integers(0, 3, 200).astype(np.int32)
  outputs = np.stack([rng.random(200), rng.normal(size=200) + (y != 1)], axis=1)
  learned = anomaly.Anomaly(normal=1)
  found = learned.measure(outputs, y)['evaluation']
  assert found['auc'] == pytest.approx(metrics.roc_auc_score(y != 1, outputs[:, 1]))
  assert found['average_precision'] == pytest.approx(metrics.average_precision_score(y != 1, outputs[:, 1]))
  good = np.sort(outputs[y == 1, 1])
  threshold = good[-1 - int(0.05 * len(good))]
  assert found['true_positive_rate_at_0.05'] == pytest.approx((outputs[y != 1, 1] > threshold).mean())
  assert found['loss'] == pytest.approx(outputs[y == 1, 0].mean())
  assert learned.yardstick(outputs, y)['good_scores'][50] == pytest.approx(np.median(good))
  assert learned.client_values(outputs, y, [np.flatnonzero(y == 1)]) == [None]


@given(st.integers(0, 50), st.integers(2, 60))
def test_roc_curves_are_thinned_but_true(seed, size):
  rng = np.random.default_rng(seed)
  positive = np.arange(size) % 2 == 0
  scores = np.round(rng.normal(size=size) + positive, 1)
  curve = base.roc(positive, scores)
  for false_rate, true_rate, threshold in zip(*curve.values(), strict=True):
    assert (scores[~positive] >= threshold).mean() == pytest.approx(false_rate)
    assert (scores[positive] >= threshold).mean() == pytest.approx(true_rate)
  assert len(curve['threshold']) <= 201 and curve['false_positive_rate'][-1] == 1


@pytest.mark.parametrize(('settings', 'match'), [
    ({'task': 'anomaly'}, 'normal_class is missing: task=anomaly'), ({'normal_class': 'good'}, 'task=classification'),
    ({'task': 'anomaly', 'normal_class': 'good', 'model': 'cnn'}, 'model=cnn'), ({'model': 'autoencoder'}, 'anomaly'),
    ({'task': 'embedding', 'privacy': 'example_dp_sgd'}, 'example_dp_sgd')])
def test_what_does_not_go_together_is_refused(settings, match):
  privacy = {'clip_norm': 1.0, 'noise_multiplier': 1.0} if 'privacy' in settings else {}
  with pytest.raises(ValueError, match=match):
    configs.ExperimentConfig(
        task=task_config.TaskConfig(task=settings.get('task', 'classification')),
        data=data_config.DataConfig(normal_class=settings.get('normal_class')),
        model=model_config.ModelConfig(model=settings.get('model', 'mlp')),
        privacy=configs.PrivacyConfig(privacy=settings.get('privacy', 'none'), **privacy))


def test_only_good_images_are_trained_on_and_the_autoencoder_fits_them():
  config = configs.ExperimentConfig(
      data=data_config.DataConfig(dataset='digits', normal_class='3', num_clients=4, partition='iid'),
      task=task_config.TaskConfig(task='anomaly'), model=model_config.ModelConfig(model='autoencoder'))
  task = built.task(config)
  assert {label for client in range(4) for label in task.images.train.examples(client).y} == {3}
  assert set(task.images.test.examples.y) == set(range(10))
  assert task.keras_model()(np.zeros((2, 8, 8, 1), np.float32)).shape == (2, 2)
  with pytest.raises(ValueError, match='normal_class=good'):
    built.task(configs.ExperimentConfig(
        data=data_config.DataConfig(dataset='digits', normal_class='good'), task=config.task, model=config.model))


@pytest.mark.parametrize('shape', [(8, 8, 1), (28, 21, 3), (32, 32, 1)])
def test_autoencoders_return_what_they_take(shape):
  model = MODELS['autoencoder'](shape, 0)
  assert model(np.zeros((2, *shape), np.float32)).shape == (2, *shape)
