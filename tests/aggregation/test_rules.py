"""Robust rules against independent numpy, and what they promise while attackers are few, by hypothesis."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision.aggregation import limits, rules
from tff_vision.configs import aggregation_config

RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(11, 40)).astype(np.float32)
COUNTS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], np.float32)
ONES = np.ones(11, np.float32)


def rule(name, **settings):
  return rules.build_rule(aggregation_config.AggregationConfig(aggregator=name, **settings))


def repeated(rows=ROWS, counts=COUNTS):
  """A client of weight n is n clients of weight one."""
  return np.repeat(rows.astype(np.float64), counts.astype(int), axis=0)


def krum_by_hand(rows, tolerated, chosen):
  scores = []
  for i, row in enumerate(rows):
    distances = sorted(float(((row - other)**2).sum()) for j, other in enumerate(rows) if j != i)
    scores.append(sum(distances[:len(rows) - tolerated - 2]))
  return np.argsort(scores)[:chosen]


def test_median_and_trimmed_mean_equal_numpy():
  np.testing.assert_allclose(rule('median')(ROWS, ONES), np.median(ROWS, axis=0), atol=1e-6)
  np.testing.assert_allclose(rule('median')(ROWS[:10], ONES[:10]), np.median(ROWS[:10], axis=0), atol=1e-6)
  np.testing.assert_allclose(rule('median')(ROWS, COUNTS), np.median(repeated(), axis=0), atol=1e-6)
  trimmed = np.sort(ROWS[:10], axis=0)[2:-2].mean(axis=0)
  np.testing.assert_allclose(rule('trimmed_mean')(ROWS[:10], ONES[:10]), trimmed, atol=1e-6)
  weighted = np.sort(repeated(), axis=0)[11:-11].mean(axis=0)  # A quarter of 44.
  np.testing.assert_allclose(rule('trimmed_mean', tolerated_fraction=0.25)(ROWS, COUNTS), weighted, atol=1e-6)
  np.testing.assert_allclose(rule('trimmed_mean', tolerated_fraction=0.0)(ROWS, COUNTS),
                             np.average(ROWS, axis=0, weights=COUNTS), atol=1e-6)


def test_krum_and_multi_krum_equal_numpy():
  best = krum_by_hand(ROWS, 3, 8)  # A fifth of 11, rounded up.
  np.testing.assert_allclose(rule('krum')(ROWS, ONES), ROWS[best[0]], atol=1e-7)
  np.testing.assert_allclose(rule('multi_krum')(ROWS, ONES), ROWS[best].mean(axis=0), atol=1e-6)
  np.testing.assert_allclose(rule('multi_krum')(ROWS, COUNTS),
                             np.average(ROWS[best], axis=0, weights=COUNTS[best]), atol=1e-6)
  thirty = RNG.normal(size=(30, 5)).astype(np.float32)  # 0.1 * 30 is above 3 in floating point.
  np.testing.assert_allclose(rule('multi_krum', tolerated_fraction=0.1)(thirty, np.ones(30, np.float32)),
                             thirty[krum_by_hand(thirty, 3, 27)].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize('weights', [ONES, COUNTS])
def test_geometric_median_is_the_least_sum_of_distances(weights):
  rows = ROWS[:, :4].astype(np.float64)
  cost = lambda point: (weights * np.linalg.norm(rows - point, axis=1)).sum()
  reference = scipy.optimize.minimize(cost, rows.mean(axis=0), tol=1e-12).x
  np.testing.assert_allclose(rule('geometric_median')(ROWS[:, :4], weights), reference, atol=1e-4)


@pytest.mark.parametrize('name', rules.RULES)
def test_absent_and_broken_clients_do_not_count(name):
  broken = ROWS.copy()
  broken[2, 7], broken[5, 0] = np.nan, np.inf
  weights = ONES.copy()
  weights[8] = 0
  left = [i for i in range(11) if i not in (2, 5, 8)]
  np.testing.assert_allclose(rule(name)(broken, weights), rule(name)(ROWS[left], ONES[left]), atol=1e-6)
  np.testing.assert_array_equal(rule(name)(ROWS[:0], ONES[:0]), np.zeros(40))
  np.testing.assert_allclose(rule(name)(ROWS[:1], ONES[:1]), ROWS[0], atol=1e-5)


@settings(max_examples=25)
@given(st.sampled_from(['median', 'trimmed_mean', 'krum', 'multi_krum', 'geometric_median']), st.integers(5, 12),
       st.floats(0, 1e30), st.integers(0, 10**6))
def test_a_tolerated_share_of_attackers_cannot_carry_the_result_away(name, clients, far, seed):
  """Breakdown: with f < (n - 2) / 2 attackers anywhere, the result stays near where the honest ones are."""
  rng = np.random.default_rng(seed)
  attackers = (clients - 3) // 2
  honest = rng.normal(size=(clients - attackers, 6)).astype(np.float32)
  evil = (far * rng.normal(size=(attackers, 6))).astype(np.float32)
  rows = rng.permutation(np.concatenate([honest, evil]))
  settings_ = {} if name in ('median', 'geometric_median') else {'tolerated_fraction': attackers / clients}
  found = np.asarray(rule(name, **settings_)(rows, np.ones(clients, np.float32)), np.float64)
  if name in ('median', 'trimmed_mean'):
    assert (found >= honest.min(axis=0) - 1e-4).all() and (found <= honest.max(axis=0) + 1e-4).all()
  # Pillutla et al. 2022, and Cohen et al. 2016, lemma 24: at most 2 (1 - a) / (1 - 2 a) times the farthest honest one.
  share = attackers / clients
  radius = np.linalg.norm(honest, axis=1).max()
  assert np.linalg.norm(found) <= radius * max(2 * (1 - share) / (1 - 2 * share), 6 * clients**0.5) + 1e-3


@settings(max_examples=15)
@given(st.sampled_from(list(rules.RULES)), st.permutations(range(11)))
def test_the_order_of_clients_does_not_matter(name, order):
  order = list(order)
  np.testing.assert_allclose(rule(name)(ROWS[order], COUNTS[order]), rule(name)(ROWS, COUNTS), atol=2e-5)


def test_limits_equal_numpy():
  update = [RNG.normal(size=(3, 4)).astype(np.float32), RNG.normal(size=5).astype(np.float32)]
  norm = np.sqrt(sum((u**2).sum() for u in update))
  for bound in (0.5 * norm, 2 * norm):
    for mine, u in zip(limits.clip(update, bound), update, strict=True):
      np.testing.assert_allclose(mine, u * min(1, bound / norm), rtol=1e-5)
    for mine, u in zip(limits.zero(update, bound), update, strict=True):
      np.testing.assert_array_equal(mine, u if norm <= bound else 0 * u)
  endless = [np.full(3, 1e30, np.float32)]
  np.testing.assert_array_equal(limits.clip(endless, 1.0)[0], 0)
  np.testing.assert_array_equal(limits.zero(endless, 1.0)[0], 0)
