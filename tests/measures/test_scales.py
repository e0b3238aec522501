"""Numbers on a scale: kappa, R squared and residuals against scikit-learn and by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tff_vision.measures import agreement, confusion, residuals


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_kappa_is_scikit_learns(pairs):
  y, predicted = np.array(pairs).T
  counts = confusion.counts(y, predicted, 5)
  found = agreement.quadratic_weighted_kappa(counts)
  if len(set(y) | set(predicted)) > 1:
    assert found == pytest.approx(metrics.cohen_kappa_score(y, predicted, weights='quadratic', labels=range(5)))
  else:
    assert found is None
  assert agreement.mean_distance(counts) == pytest.approx(metrics.mean_absolute_error(y, predicted))


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=40))
def test_errors_are_scikit_learns(pairs):
  y, predicted = np.array(pairs, np.float32).T
  found = residuals.errors(y, predicted)
  y, predicted = y.astype(float), predicted.astype(float)  # scikit-learn adds up in the type that it is given.
  assert found['mae'] == pytest.approx(metrics.mean_absolute_error(y, predicted), abs=1e-5)
  assert found['rmse'] == pytest.approx(np.sqrt(metrics.mean_squared_error(y, predicted)), abs=1e-5)
  if np.ptp(y) > 1e-2:
    assert found['r2'] == pytest.approx(metrics.r2_score(y, predicted), rel=1e-6)
  assert residuals.errors(np.ones(3), predicted[:3])['r2'] is None if len(y) > 2 else True


def test_residuals_by_hand():
  y = np.arange(20.0)
  found = residuals.describe(y, y + np.where(y < 10, 1, -2))
  json.dumps(found)
  assert found['percentiles'][0] == -2 and found['percentiles'][-1] == 1 and len(found['percentiles']) == 21
  assert sum(one['count'] for one in found['bins']) == 20 and found['bins'][0]['mae'] == 1
  assert found['bins'][0]['prediction'] == found['bins'][0]['label'] + 1
  assert found['pairs'][:2] == [[0, 1], [1, 2]]
  assert len(residuals.describe(np.arange(3000.0), np.arange(3000.0))['pairs']) == 400
