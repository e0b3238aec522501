"""Confusion, calibration, curves and worst answers, against scikit-learn, second implementations and by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tff_vision.measures import calibration, confusion, curves, worst
from tff_vision.objectives import classification


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_confusion_is_scikit_learns(pairs):
  y, predicted = np.array(pairs).T
  matrix = confusion.counts(y, predicted, 4)
  np.testing.assert_array_equal(matrix, metrics.confusion_matrix(y, predicted, labels=range(4)))
  precision, recall, f1, support = metrics.precision_recall_fscore_support(
      y, predicted, labels=range(4), zero_division=np.nan)
  for c, one in enumerate(confusion.describe(matrix)['classes']):
    for name, values in (('precision', precision), ('recall', recall)):
      assert (one[name] is None) == np.isnan(values[c]) and (one[name] is None or one[name] == pytest.approx(values[c]))
    assert one['support'] == support[c] and one['predicted'] == (predicted == c).sum()
    if one['support'] and one['predicted']:
      assert one['f1'] == pytest.approx(f1[c])
  confused = confusion.describe(matrix)['confused']
  assert sum(one['count'] for one in confused) == (y != predicted).sum()
  assert [one['count'] for one in confused] == sorted((one['count'] for one in confused), reverse=True)


def test_many_classes_are_told_by_their_errors():
  y = np.arange(300) % 150
  found = confusion.describe(confusion.counts(y, np.where(y == 7, 9, y), 150))
  assert found['counts'] is None and found['confused'] == [{'label': 7, 'prediction': 9, 'count': 2}]


def test_findings_have_their_own_matrices():
  y = np.array([[1, 0], [1, 1], [0, 0]], np.float32)
  found = confusion.findings(y, np.array([[1, 1], [0, 1], [0, 1]], bool))
  assert found[0]['counts'] == [[1, 0], [1, 1]] and found[0]['precision'] == 1 and found[0]['recall'] == 0.5
  assert found[1]['counts'] == [[0, 2], [0, 1]] and found[1]['precision'] == pytest.approx(1 / 3)


@given(st.integers(0, 1000), st.integers(1, 200), st.booleans())
def test_bins_hold_equal_numbers_and_add_up(seed, number, coarse):
  rng = np.random.default_rng(seed)
  confidence = rng.random(number).round(1 if coarse else 9)
  right = rng.random(number) < confidence
  found = calibration.reliability(confidence, right)
  bins = found['bins']
  assert sum(one['count'] for one in bins) == number
  assert all(a['highest'] < b['lowest'] for a, b in zip(bins, bins[1:], strict=False))
  assert np.dot([one['count'] for one in bins], [one['accuracy'] for one in bins]) == pytest.approx(right.sum())
  if not coarse and number >= 10:
    assert max(one['count'] for one in bins) - min(one['count'] for one in bins) <= 1
  order = np.argsort(confidence)
  if not coarse and number % 10 == 0:  # A second implementation: parts of equal length in order of confidence.
    parts = zip(np.split(confidence[order], 10), np.split(right[order], 10), strict=True)
    assert found['expected_calibration_error'] == pytest.approx(np.mean([abs(a.mean() - b.mean()) for a, b in parts]))


def test_calibration_by_hand():
  found = calibration.reliability(np.array([0.6, 0.6, 0.9, 0.9]), np.array([1, 0, 1, 1]), number=2)
  assert found['expected_calibration_error'] == pytest.approx((2 * 0.1 + 2 * 0.1) / 4)
  assert [one['count'] for one in found['bins']] == [2, 2]


@given(st.integers(0, 1000), st.booleans())
def test_curves_are_scikit_learns(seed, ties):
  rng = np.random.default_rng(seed)
  positive = rng.permutation(60) < rng.integers(2, 58)
  scores = (rng.normal(size=60) + positive).round(1 if ties else 12)
  area, low, high = curves.auc(positive, scores)
  assert area == pytest.approx(metrics.roc_auc_score(positive, scores)) and low <= area <= high
  above = [part[:1] for part in curves._drawn(positive, scores)]
  false_rate, true_rate, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
  np.testing.assert_allclose(above[0][0] / positive.sum(), true_rate)
  np.testing.assert_allclose(above[1][0] / (~positive).sum(), false_rate)


def test_bands_hold_the_curve_and_narrow_with_examples():
  rng = np.random.default_rng(0)
  widths = []
  for number in (100, 5000):
    positive = rng.random(number) < 0.3
    scores = rng.normal(size=number) + 1.2 * positive
    found = curves.describe(positive, scores)
    json.dumps(found)
    assert found['positives'] == positive.sum() and found['average_precision'] == pytest.approx(
        metrics.average_precision_score(positive, scores), abs=2e-3)
    for curve, name in ((found['roc'], 'true_positive_rate'), (found['precision_recall'], 'precision')):
      inside = np.array(curve['low']) <= np.array(curve[name]) + 1e-9
      assert inside.mean() > 0.95 and np.mean(np.array(curve[name]) <= np.array(curve['high']) + 1e-9) > 0.95
    width = np.subtract(found['roc']['high'], found['roc']['low'])
    widths.append((width.mean(), found['auc_high'] - found['auc_low']))
    # At each false positive rate, the share of positives above the threshold with so many negatives above it.
    thresholds = np.quantile(scores[~positive], [0.9, 0.5])
    expected = [(scores[positive] > each).mean() for each in thresholds]
    places = [5, 25]
    np.testing.assert_allclose(np.array(found['roc']['true_positive_rate'])[places], expected, atol=0.06)
  assert all(wide > 4 * narrow for wide, narrow in zip(*widths, strict=True))
  assert curves.describe(np.ones(3, bool), np.arange(3)) is None


def test_the_interval_of_the_area_is_that_of_delong_and_covers():
  """Variance as the paper has it, by loops over pairs; and how often the interval holds the true area."""
  rng = np.random.default_rng(1)
  hits, alarms = rng.normal(1, 1, 25).round(1), rng.normal(0, 1, 40).round(1)
  kernel = (hits[:, None] > alarms) + 0.5 * (hits[:, None] == alarms)
  variance = kernel.mean(1).var(ddof=1) / 25 + kernel.mean(0).var(ddof=1) / 40
  area, low, high = curves.auc(np.r_[np.ones(25, bool), np.zeros(40, bool)], np.r_[hits, alarms])
  logit = np.log(area / (1 - area))
  for end, side in ((low, -1), (high, 1)):
    assert np.log(end / (1 - end)) == pytest.approx(logit + side * 1.959964 * np.sqrt(variance) / (area * (1 - area)))
  truth, held = 0.7602499389, 0  # Of two unit normals one apart: Phi(1 / sqrt(2)).
  for _ in range(300):
    scores = np.r_[rng.normal(1, 1, 60), rng.normal(0, 1, 60)]
    _, low, high = curves.auc(np.arange(120) < 60, scores)
    held += low <= truth <= high
  assert 0.90 <= held / 300 <= 0.99


def test_worst_are_the_most_confident_errors():
  y, predicted = np.array([0, 1, 2, 1]), np.array([0, 2, 1, 0])
  found = worst.confident_errors(y, predicted, np.array([0.99, 0.5, 0.9, 0.7]))
  assert [one['example'] for one in found] == [2, 3, 1]
  assert found[0] == {'example': 2, 'label': 2, 'prediction': 1, 'confidence': 0.9}
  found = worst.confident_findings(np.array([[1, 0], [0, 1]], np.float32), np.array([[0.1, 0.2], [0.7, 0.95]]))
  assert [(one['example'], one['finding'], one['confidence']) for one in found] == [(0, 0, 0.9), (1, 0, 0.7)]
  assert [one['example'] for one in worst.largest_errors(np.array([1.0, 5, 3]), np.array([1.5, 1, 3]))] == [1, 0, 2]


@pytest.mark.parametrize('classes', [2, 5, 30])
def test_a_classifier_tells_where_it_is_wrong(classes):
  rng = np.random.default_rng(0)
  y = rng.integers(0, classes, 300)
  logits = (rng.normal(size=(300, classes)) + 2 * np.eye(classes)[y]).astype(np.float32)
  logits[0] *= 1e4  # As of a model that has diverged: probabilities of exactly one.
  objective = classification.Classification(num_outputs=classes, multi_label=False)
  found = objective.mistakes(logits, y)
  json.dumps(found, allow_nan=False)
  accuracy = (logits.argmax(1) == y).mean()
  assert np.trace(found['confusion']['counts']) == accuracy * 300
  assert sum(one['accuracy'] * one['count'] for one in found['calibration']['bins']) / 300 == pytest.approx(accuracy)
  assert len(found['curves']) == {2: 1, 5: 5, 30: 20}[classes]
  if classes == 2:
    assert found['curves'][0]['auc'] == pytest.approx(objective.measure(logits, y)['evaluation']['auc'])
  if classes == 5:
    shares = np.exp(logits[1:] - logits[1:].max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    alone = objective.mistakes(logits[1:], y[1:])['curves'][3]
    assert alone['auc'] == pytest.approx(metrics.roc_auc_score(y[1:] == 3, shares[:, 3]), abs=1e-6)


def test_findings_tell_where_they_are_wrong():
  rng = np.random.default_rng(0)
  y = (rng.random((80, 3)) < [0.4, 0.0, 0.2]).astype(np.float32)
  logits = (rng.normal(size=(80, 3)) + 2 * y - 1).astype(np.float32)
  objective = classification.Classification(num_outputs=3, multi_label=True)
  found = objective.mistakes(logits, y)
  json.dumps(found, allow_nan=False)
  assert [one['class'] for one in found['curves']] == [0, 2] and len(found['findings']) == 3
  by_finding = objective.measure(logits, y)['evaluation']['auc_by_finding']
  assert [one['auc'] for one in found['curves']] == pytest.approx([by_finding[0], by_finding[2]])
