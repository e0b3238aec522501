"""Metrics from whole numbers that clients count, beside those of scikit-learn on all examples together."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from tff_vision.learning import histograms, right_answers, tallies
from tff_vision.objectives import anomaly, classification, embedding
from tff_vision.privacy.noise import integer_grid

RNG = np.random.default_rng(7)


def counted(objective, outputs, y, clients=3):
  """Returns the measurement over clients that count one after the other, and the tally's sums."""
  tally, total = tallies.of(objective), 0
  for part in np.array_split(np.arange(len(y)), clients):
    found = tally.flat(tally.of(tf.constant(outputs[part]), tf.constant(y[part]))).numpy()
    counts, sums = tally.lengths
    assert len(found) == counts + sums and found.min() >= 0
    assert found[:counts].max() <= tallies.MOST_EXAMPLES and found.max() <= tallies.LARGEST_SUM
    total = total + found
  return tally.measure(tally.named(total)), tally.named(total)


def close_to_exact(found, exact, what='auc'):
  assert found['auc_error_bound'] < 2e-3
  assert abs(found['evaluation'][what] - exact) <= min(1e-3, found['auc_error_bound'] + 1e-12)


@pytest.mark.parametrize('scale, shift', [(1.0, 0.0), (0.01, 0.0), (30.0, 5.0)])
def test_two_classes(scale, shift):
  y = RNG.integers(0, 2, 4000).astype(np.int32)
  outputs = (scale * RNG.normal(size=(4000, 2)) + [[shift, 0]]).astype(np.float32)
  outputs[:, 1] += scale * y
  found, sums = counted(classification.Classification(num_outputs=2, multi_label=False), outputs, y)
  exact = classification.Classification(num_outputs=2, multi_label=False).measure(outputs, y)['evaluation']
  close_to_exact(found, metrics.roc_auc_score(y, outputs[:, 1] - outputs[:, 0]))
  assert found['evaluation']['accuracy'] == pytest.approx(exact['accuracy'], abs=1e-12)
  if scale < 30:
    assert found['evaluation']['loss'] == pytest.approx(exact['loss'], abs=2e-5)
  np.testing.assert_array_equal(found['confusion'], metrics.confusion_matrix(y, outputs.argmax(axis=1)))
  assert sums['examples'] == 4000


def test_calibration_is_what_its_definition_gives():
  logits = RNG.normal(size=(900, 5)).astype(np.float32) * 2
  y = RNG.integers(0, 5, 900).astype(np.int32)
  found, _ = counted(classification.Classification(num_outputs=5, multi_label=False), logits, y)
  probability = tf.nn.softmax(logits).numpy().max(axis=1)
  bins, right = np.minimum((probability * 15).astype(int), 14), logits.argmax(axis=1) == y
  expected = sum(abs(probability[bins == b].sum() - right[bins == b].sum()) for b in range(15)) / 900
  assert found['calibration_error'] == pytest.approx(expected, abs=2e-5)
  assert sum(found['calibration']['examples']) == 900 and 'auc' not in found['evaluation']


def test_findings():
  y = (RNG.random((3000, 4)) < [0.5, 0.1, 0.02, 0.0]).astype(np.float32)
  outputs = (RNG.normal(size=y.shape) + 1.5 * y - 1).astype(np.float32)
  objective = classification.Classification(num_outputs=4, multi_label=True)
  found, _ = counted(objective, outputs, y)
  exact = objective.measure(outputs, y)['evaluation']
  for ours, theirs in zip(found['evaluation']['auc_by_finding'], exact['auc_by_finding'], strict=True):
    assert ours is None and theirs is None or abs(ours - theirs) <= 1e-3
  close_to_exact(found, exact['auc'])
  assert found['evaluation']['accuracy'] == pytest.approx(exact['accuracy'], abs=1e-6)
  assert found['evaluation']['loss'] == pytest.approx(exact['loss'], abs=2e-5)
  np.testing.assert_array_equal(found['confusion'][1], metrics.confusion_matrix(y[:, 1], outputs[:, 1] > 0))


def test_anomalies_and_pairs():
  y = RNG.integers(0, 3, 2000).astype(np.int32)
  outputs = np.abs(RNG.normal(size=(2000, 2)) * 1e-3).astype(np.float32)
  outputs[:, 1] *= 1 + (y != 1)
  found, _ = counted(anomaly.Anomaly(normal=1), outputs, y)
  close_to_exact(found, metrics.roc_auc_score(y != 1, outputs[:, 1]))
  assert found['evaluation']['loss'] == pytest.approx(outputs[y == 1, 0].mean(), abs=2e-5)
  y = RNG.integers(0, 6, 90).astype(np.int32)
  vectors = RNG.normal(size=(90, 3)) + 2 * np.eye(6)[:, :3][y]
  vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
  found, _ = counted(embedding.Embedding(num_outputs=3), vectors, y, clients=1)
  exact = embedding.Embedding(num_outputs=3).measure(vectors, y)['evaluation']
  close_to_exact(found, exact['auc'])
  assert found['evaluation']['pairs'] == exact['pairs'] == 90 * 89 // 2
  assert found['evaluation']['same_pairs'] == exact['same_pairs']


def test_outputs_that_are_no_numbers_count_as_the_largest_loss():
  outputs = np.array([[np.nan, np.nan], [np.inf, 0], [0, 1000], [0, 0]], np.float32)
  y = np.array([0, 1, 0, 0], np.int32)
  found, sums = counted(classification.Classification(num_outputs=2, multi_label=False), outputs, y, clients=1)
  assert sums['unbounded'] == 3
  assert found['evaluation']['loss'] == pytest.approx((3 * tallies.LARGEST_LOSS + np.log(2)) / 4, abs=1e-4)


def test_the_area_of_scores_that_all_fall_into_one_bin_says_that_it_is_not_known():
  scores = np.zeros((2, 8), np.int64)
  scores[:, 3] = 5, 7
  assert histograms.area(scores) == (0.5, 0.5)
  scores[0, 3], scores[0, 1] = 0, 5
  assert histograms.area(scores) == (1.0, 0.0)
  assert histograms.area(np.array([[3], [0]])) == (None, None)


def test_right_answers_count_in_the_steps_of_the_noise():
  assert right_answers.ANSWER_STEPS == integer_grid.STEPS
  for multi_label in (False, True):
    objective = classification.Classification(num_outputs=3, multi_label=multi_label)
    outputs = RNG.normal(size=(50, 3)).astype(np.float32)
    y = RNG.integers(0, 2, (50, 3)).astype(np.float32) if multi_label else RNG.integers(0, 3, 50).astype(np.int32)
    tally = right_answers.of(objective)
    found = tally.named(tally.flat(tally.of(tf.constant(outputs), tf.constant(y))).numpy())
    assert found['examples'] == 50
    assert tally.measure(found)['evaluation']['accuracy'] == pytest.approx(
        objective.measure(outputs, y)['evaluation']['accuracy'], abs=1e-6)
  with pytest.raises(ValueError, match='task=anomaly has none'):
    right_answers.of(anomaly.Anomaly(normal=0))
