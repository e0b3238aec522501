"""Measures at a hospital against scikit-learn, hand arithmetic and the bootstrap's own theory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tff_vision.studies.hospitals import measures


def data(seed, n=60, levels=9):
  rng = np.random.default_rng(seed)
  y = np.r_[0, 1, rng.integers(0, 2, n - 2)]
  return rng.integers(0, levels, n) / levels, y


@given(st.integers(0, 10**6))
def test_areas_and_accuracies_equal_scikit_learns_on_every_resample(seed):
  scores, y = data(seed)
  drawn = measures.resamples(y, number=3, seed=seed)
  assert (drawn.counts[0] == 1).all()
  for row, (auc, accuracy) in enumerate(zip(drawn.aucs(scores), drawn.balanced_accuracies(scores, 0.4), strict=True)):
    weights = drawn.counts[row]
    assert [weights[y == c].sum() for c in (0, 1)] == [(y == c).sum() for c in (0, 1)]
    assert auc == pytest.approx(metrics.roc_auc_score(y, scores, sample_weight=weights))
    assert accuracy == pytest.approx(metrics.balanced_accuracy_score(y, scores >= 0.4, sample_weight=weights))


@given(st.integers(0, 10**6))
def test_the_threshold_is_the_best_of_all(seed):
  scores, y = data(seed)
  chosen = measures.best_threshold(scores, y)
  best = max(metrics.balanced_accuracy_score(y, scores >= t) for t in np.linspace(-0.01, 1.01, 200))
  assert metrics.balanced_accuracy_score(y, scores >= chosen) == pytest.approx(best)


def test_calibration_by_hand():
  """Bins of equal numbers of images; equal scores stay together."""
  scores = np.array([0.05, 0.15, 0.15, 0.95, 1.0])
  y = np.array([0, 1, 0, 1, 1])
  error, curve = measures.calibration(scores, y)
  assert [one['images'] for one in curve] == [1, 2, 1, 1]
  assert error == pytest.approx(0.2 * 0.05 + 0.4 * 0.35 + 0.2 * 0.05)
  _, curve = measures.calibration(np.linspace(0, 1, 200) ** 4, np.arange(200) % 2)
  assert [one['images'] for one in curve] == 10 * [20], 'of equal width, most would hold next to nothing'


def test_a_model_that_is_all_too_confident_is_ranked_all_the_same():
  scores, y = np.array([40.0, 90.0, 60.0, 300.0]), np.array([0, 1, 0, 1])
  drawn = measures.resamples(y, number=5, seed=0)
  found = measures.measure(drawn, scores, threshold=measures.best_threshold(scores, y))
  assert found['auc'] == found['balanced_accuracy'] == 1
  assert found['threshold'] == 1 and found['calibration_error'] == pytest.approx(0.5)


def test_intervals_have_the_width_that_theory_gives():
  rng = np.random.default_rng(0)
  y = np.repeat([0, 1], 200)
  scores = 1 / (1 + np.exp(-(rng.normal(0, 1, 400) + y)))
  drawn = measures.resamples(y, number=2000, seed=1)
  low, high = measures.measure(drawn, scores, threshold=0.6)['auc_interval']
  auc = metrics.roc_auc_score(y, scores)
  # Hanley & McNeil 1982, equation 1.
  q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
  deviation = ((auc * (1 - auc) + 199 * (q1 - auc**2) + 199 * (q2 - auc**2)) / 200**2) ** 0.5
  assert (high - low) / 2 == pytest.approx(1.96 * deviation, rel=0.15)
  same = measures.difference(drawn, scores, scores)
  assert same == {'auc_difference': 0.0, 'auc_difference_interval': [0.0, 0.0]}
