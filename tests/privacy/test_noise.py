import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tff_vision.privacy.noise import integer_gaussian
from tff_vision.secure import os_keys

N = 200_000
KEY = tf.constant(np.arange(8), tf.uint32)


def nonce(*words):
  return tf.constant(words, tf.uint32)


def normal(key, name, shape):
  """Returns the noise in deviations."""
  return integer_gaussian.gaussian(key, name, shape, 2.0 ** 20).numpy() / 2 ** 20


@pytest.fixture(scope='module')
def normals():
  return normal(KEY, nonce(0, 0, 0), (N,))


def test_normal_numbers_are_standard_normal(normals):
  assert stats.kstest(normals, 'norm').pvalue > 1e-3
  assert abs(normals.mean()) < 4 / math.sqrt(N)
  assert abs(normals.var() - 1) < 4 * math.sqrt(2 / N)
  assert abs(stats.kurtosis(normals)) < 4 * math.sqrt(24 / N)
  # Both halves of a Box-Muller pair share a radius: their squares must be uncorrelated all the same.
  assert abs(np.corrcoef(normals[:N // 2] ** 2, normals[N // 2:] ** 2)[0, 1]) < 4 / math.sqrt(N // 2)
  assert abs(np.corrcoef(normals[:-1], normals[1:])[0, 1]) < 4 / math.sqrt(N)


def test_rounds_tensors_and_clients_are_independent(normals):
  others = [normal(KEY, nonce(0, 0, 1), (N,)), normal(KEY, nonce(1, 0, 0), (N,)),
            normal(tf.constant(np.arange(1, 9), tf.uint32), nonce(0, 0, 0), (N,))]
  for other in others:
    assert abs(np.corrcoef(normals, other)[0, 1]) < 4.5 / math.sqrt(N)
    assert abs(np.corrcoef(normals ** 2, other ** 2)[0, 1]) < 4.5 / math.sqrt(N)


def test_a_name_fixes_the_noise_and_the_kernel_fixes_none():
  again = [normal(KEY, nonce(3, 1, 4), (5, 2)) for _ in range(2)]
  np.testing.assert_array_equal(*again)
  keys = {tuple(os_keys.kernel_key().numpy()) for _ in range(3)}
  assert len(keys) == 3


def chi_square(draws, values, masses):
  """P-value over the values whose expected count exceeds 20; the rest is one class."""
  common = masses * len(draws) > 20
  observed = np.array([(draws == value).sum() for value in values[common]])
  observed = np.append(observed, len(draws) - observed.sum())
  expected = np.append(masses[common], 1 - masses[common].sum()) * len(draws)
  return stats.chisquare(observed, expected).pvalue


@pytest.mark.parametrize('sigma', [0.5, 1.0, 10.0])
def test_discrete_gaussian(sigma):
  draws = integer_gaussian.discrete_gaussian(KEY, nonce(7, 0, 0), (N,), sigma).numpy()
  values = np.arange(-math.ceil(12 * sigma), math.ceil(12 * sigma) + 1)
  masses = np.exp(-values ** 2 / (2 * sigma ** 2))
  assert chi_square(draws, values, masses / masses.sum()) > 1e-3


@pytest.mark.parametrize('variance', [0.5, 4.0, 100.0])
def test_skellam(variance):
  draws = integer_gaussian.skellam(KEY, nonce(8, 0, 0), (N,), variance).numpy()
  reach = math.ceil(12 * math.sqrt(variance) + 40)
  values = np.arange(-reach, reach + 1)
  # scipy's ive is the Bessel function times exp(-variance): Irwin's formula for two equal means.
  assert chi_square(draws, values, special.ive(np.abs(values), variance)) > 1e-3


def test_tables_are_symmetric_distribution_functions():
  for table in (integer_gaussian.discrete_gaussian_table(2.5), integer_gaussian.skellam_table(3.0)):
    body, reach = table.body.astype(object), table.body_reach
    assert (np.diff(table.body) > 0).all() and (np.diff(table.tail) >= 0).all()
    for k in range(reach + 1):
      # P(X <= -k - 1) + P(X <= k) = 1.
      assert abs(body[reach - k] + body[reach + 1 + k] - 2 ** 63) <= 2


@pytest.mark.parametrize('sigma', [1.0, 37.0, 4000.0])
def test_a_discrete_gaussian_ends_at_twelve_deviations_and_not_before(sigma, monkeypatch):
  table, end = integer_gaussian.discrete_gaussian_table(sigma), math.ceil(12 * sigma)
  assert table.reach == end
  # The tail is what is missing in the body, within the body's own resolution of 2^-63.
  values = np.arange(table.body_reach + 1, end + 1)
  masses = np.exp(-(values / sigma) ** 2 / 2)
  beyond = 2 * masses.sum() / (1 + 2 * np.exp(-(np.arange(1, end + 1) / sigma) ** 2 / 2).sum())
  assert 0 < beyond < 2.0 ** -53 and table.body[0] == pytest.approx(beyond / 2 * 2.0 ** 63, abs=1)
  np.testing.assert_allclose(np.append(table.tail, 2 ** 63) / 2 ** 63, np.cumsum(masses) / masses.sum(), atol=1e-9)
  # The most extreme words: all zeros and all ones, twice.
  for word, sign in ((0, -1), (2 ** 32 - 1, 1)):
    monkeypatch.setattr(integer_gaussian.chacha20, 'key_stream', lambda key, name, number, word=word: tf.fill(
        [number], tf.constant(word if name[2] < 2 ** 31 else 2 ** 32 - 1, tf.uint32)))
    assert integer_gaussian.discrete_gaussian(KEY, nonce(0, 0, 0), (2,), sigma).numpy().tolist() == [sign * end] * 2


def test_skellam_reaches_as_far_as_it_is_said_to():
  table = integer_gaussian.skellam_table(100.0)
  assert table.reach == 12 * 10 + 40 and len(table.tail) > 20


def test_tables_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match='sigma=100000'):
    integer_gaussian.discrete_gaussian_table(1e5)
