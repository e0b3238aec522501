import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_vision.privacy.matrix import banded, blt, toeplitz


def brute_force_sensitivity_squared(coefficients, participation):
  """Tries every legal set of rounds."""
  dense = toeplitz.matrix(coefficients, participation.rounds)
  best = 0.0
  for turns in range(1, participation.max_participations + 1):
    for pattern in itertools.combinations(range(participation.rounds), turns):
      if all(later - earlier >= participation.min_separation for earlier, later in itertools.pairwise(pattern)):
        best = max(best, (dense[:, pattern].sum(1) ** 2).sum())
  return best


@pytest.mark.parametrize('coefficients', [toeplitz.square_root(12), banded.optimise(12, 3), banded.optimise(12, 5),
                                          np.ones(1), np.array([1.0, 0.9, 0.9])])
@pytest.mark.parametrize('b, k', [(1, 12), (3, 4), (3, 2), (5, 3), (12, 1)])
def test_sensitivity_is_the_worst_over_all_patterns(coefficients, b, k):
  participation = toeplitz.Participation(rounds=12, min_separation=b, max_participations=k)
  expected = brute_force_sensitivity_squared(coefficients, participation)
  assert toeplitz.sensitivity_squared(coefficients, participation) == pytest.approx(expected, rel=1e-12)


@given(st.integers(1, 40), st.lists(st.floats(0.05, 0.95), min_size=0, max_size=8))
def test_errors_equal_the_dense_matrices(n, ratios):
  coefficients = np.cumprod([1.0, *ratios])
  dense = np.tril(np.ones((n, n))) @ np.linalg.inv(toeplitz.matrix(coefficients, n))
  inverse = toeplitz.invert(coefficients, n)
  assert toeplitz.error_squared(inverse, 'max') == pytest.approx((dense ** 2).sum(1).max(), rel=1e-9)
  assert toeplitz.error_squared(inverse, 'mean') == pytest.approx((dense ** 2).sum() / n, rel=1e-9)


def test_square_root_squared_is_the_prefix_sum():
  root = toeplitz.matrix(toeplitz.square_root(20), 20)
  np.testing.assert_allclose(root @ root, np.tril(np.ones((20, 20))), atol=1e-12)


def test_one_band_is_independent_noise():
  everyone_always = toeplitz.Participation.of(50, 1)
  assert toeplitz.loss(banded.optimise(50, 1), everyone_always, 'max') == pytest.approx(50.0)
  # When every client may return at once, no correlation helps: the optimum is the identity.
  coefficients = blt.optimise(everyone_always, 1, 'max').coefficients(50)
  assert toeplitz.loss(coefficients, everyone_always, 'max') == pytest.approx(50.0, rel=2e-3)


@pytest.mark.parametrize('rounds, b, metric, expected', [
    (2048, 2048, 'max', 3.493), (2048, 2048, 'mean', 3.277), (2052, 342, 'max', 10.40), (2052, 342, 'mean', 8.80)])
def test_banded_losses_of_the_literature_settings(rounds, b, metric, expected):
  participation = toeplitz.Participation.of(rounds, b)
  assert toeplitz.loss(banded.optimise(rounds, b, metric), participation, metric) == pytest.approx(expected, abs=6e-3)


def test_impossible_promises_are_refused():
  with pytest.raises(ValueError, match='max_participations=5'):
    toeplitz.Participation(rounds=10, min_separation=3, max_participations=5)
  with pytest.raises(ValueError, match='bands'):
    banded.optimise(10, 11)
  with pytest.raises(ValueError, match='metric'):
    toeplitz.error_squared(np.ones(3), 'median')
