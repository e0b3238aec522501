"""Poisson cohorts of bounded size: their law, their price by brute force, and no refusal that depends on a draw."""

import collections
import functools
import itertools
import math

import dp_accounting
import numpy as np
import pytest
from scipy import stats

from tff_vision import configs
from tff_vision.accounting import accounting, cohort_sizes, events
from tff_vision.aggregation import secured
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import mechanism_comparison, plan

GRID = np.linspace(-16, 16, 6401)


@functools.lru_cache
def law(records, rate, least, most):
  """Returns the probability of every cohort, by listing all draws and all ways to mend them."""
  found = collections.Counter()
  for size in range(records + 1):
    for drawn in map(set, itertools.combinations(range(records), size)):
      chance = rate ** size * (1 - rate) ** (records - size)
      if size > most:
        mended = list(itertools.combinations(sorted(drawn), most))
      else:
        others = sorted(set(range(records)) - drawn)
        mended = [(*drawn, *more) for more in itertools.combinations(others, max(0, least - size))]
      for cohort in mended:
        found[tuple(sorted(cohort))] += chance / len(mended)
  return found


def density(values, rate, noise, least, most):
  """Returns the density of the noised sum of one round, on GRID."""
  sums = collections.Counter()
  for cohort, chance in law(len(values), rate, least, most).items():
    sums[sum(values[i] for i in cohort)] += chance
  return sum(chance * stats.norm.pdf(GRID, total, noise) for total, chance in sums.items())


def hockey_stick(upper, lower, epsilon):
  return np.trapz(np.maximum(upper - math.exp(epsilon) * lower, 0), GRID)


def event(rate, noise, least, most, fewest, largest=None):
  return events.TruncatedPoissonGaussianDpEvent(rate, noise, cohort_sizes.Sizes(least=least, most=most), fewest,
                                                largest or fewest)


def spent(once, rounds=1):
  return events.PldAccountant(value_discretization_interval=1e-3).compose(
      dp_accounting.SelfComposedDpEvent(once, rounds))


@pytest.mark.parametrize('rate, noise, least, most', [
    (0.4, 0.8, 2, 3), (0.3, 1.0, 2, 99), (0.5, 1.5, 0, 2), (0.2, 0.6, 1, 4), (0.7, 2.0, 3, 5)])
def test_no_data_costs_more_than_is_accounted(rate, noise, least, most):
  """Data of 5 records and neighbours of 4 and 6, whose records pull one way, the other way, or nowhere."""
  accountant, excess = spent(event(rate, noise, least, most, 5)), []
  plain = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-3).compose(
      dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise)))
  for others in ([-1.0] * 4, [1.0] * 4, [0.0] * 4, [-1.0] * 5, [1.0, -1.0, 0.0, 1.0, -1.0]):
    without, added = density(others, rate, noise, least, most), density([*others, 1.0], rate, noise, least, most)
    for epsilon in (0.0, 0.3, 1.0, 2.0):
      true = max(hockey_stick(added, without, epsilon), hockey_stick(without, added, epsilon))
      assert true <= accountant.get_delta(epsilon) + 1e-9
      excess.append(true - plain.get_delta(epsilon))
  # What is claimed for cohorts of any size does not hold: a client's coming displaces another one.
  assert max(excess) > 1e-3


@pytest.mark.parametrize('least, most', [(0, 7), (0, None), (0, 1000)])
def test_bounds_that_bind_nothing_cost_nothing(least, most):
  run = accounting.SampledGaussian(rounds=20, cohort_size=2, population=6, noise_multiplier=1.1, sampling='poisson')
  bounded = accounting.SampledGaussian(rounds=20, cohort_size=2, population=6, noise_multiplier=1.1, sampling='poisson',
                                       sizes=cohort_sizes.Sizes(least=least, most=most))
  assert bounded.event() == run.event()
  # The mixture's own arithmetic, without the short cut.
  once = event(1 / 3, 1.1, least, most, 6)
  assert spent(once, 20).get_epsilon(1e-3) == pytest.approx(
      dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-3).compose(run.event()).get_epsilon(1e-3), 1e-9)
  orders = np.array([1.5, 2, 8, 64])
  np.testing.assert_allclose(events.RdpAccountant(orders).compose(once).rdp * 20,
                             dp_accounting.rdp.RdpAccountant(orders).compose(run.event()).rdp, rtol=1e-9)


def test_rounds_compose_as_sampled_losses_do():
  """Monte Carlo over three rounds, of the mixture's own loss."""
  once, rng, total = event(0.4, 1.2, 2, 4, 8), np.random.default_rng(5), 0.0
  (_, q1, z1), (w2, q2, z2) = once.components()
  for _ in range(3):
    second = rng.random(400_000) < w2
    rate, noise = np.where(second, q2, q1), np.where(second, z2, z1)
    x = (rng.random(len(rate)) < rate) + noise * rng.standard_normal(len(rate))
    total = total + np.log1p(rate * np.expm1((x - 0.5) / noise ** 2))
  for epsilon in (0.5, 2.0, 4.0):
    found = -np.expm1(np.minimum(epsilon - total, 0))
    assert spent(once, 3).get_delta(epsilon) == pytest.approx(found.mean(), abs=5 * found.std() / len(found) ** 0.5)


def test_renyi_bound_lies_above():
  once = dp_accounting.SelfComposedDpEvent(event(0.1, 1.0, 2, 16, 100), 50)
  assert accounting.epsilon_pld(once, 1e-3) < accounting.epsilon_rdp(once, 1e-3) < math.inf
  assert accounting.epsilon_rdp(event(0.1, 0.0, 2, 16, 100), 1e-3) == math.inf
  assert accounting.tightest(event(0.1, 0.0, 2, 16, 100), 1e-3)[0] == math.inf


@pytest.mark.parametrize('secret', [None, b'\x07' * 32])
def test_cohorts_have_the_law_that_is_accounted(secret):
  sampler = cohort_sampling.PoissonCohort(population=5, rate=0.4, seed=2, secret=secret,
                                          sizes=cohort_sizes.Sizes(least=2, most=3))
  rounds = 20_000
  seen = collections.Counter(tuple(sampler(round_num).tolist()) for round_num in range(rounds))
  expected = law(5, 0.4, 2, 3)
  assert set(seen) <= set(expected)
  statistic = sum((seen[cohort] - rounds * chance) ** 2 / (rounds * chance) for cohort, chance in expected.items())
  assert statistic < stats.chi2.isf(1e-6, len(expected) - 1)
  np.testing.assert_array_equal(sampler(7), sampler(7))


def test_blocks_keep_their_sizes_to_themselves():
  sampler = cohort_sampling.BlockPoissonCohort(population=21, rate=0.1, num_blocks=4, seed=1, secret=b'x' * 32,
                                               sizes=cohort_sizes.Sizes(least=2, most=3))
  blocks = [set(cohort_sampling._block(21, 4, 1, number)) for number in range(4)]
  for round_num in range(400):
    drawn = sampler(round_num)
    assert 2 <= len(drawn) <= 3 and set(drawn) <= blocks[round_num % 4]
  once = sampler.releases(8, noise_multiplier=1.0).event()
  assert (once.event.fewest, once.event.most, once.count) == (5, 6, 2)
  with pytest.raises(ValueError, match='mf_bands=6 .* blocks of 1 clients'):
    cohort_sampling.BlockPoissonCohort(population=11, rate=0.1, num_blocks=6, seed=1, sizes=cohort_sizes.Sizes(least=2))


def _plan(secure, **cohort):
  private = {'privacy': 'client_gaussian', 'clip_norm': 1.0, 'noise_multiplier': 1.0, 'delta': 0.01}
  if cohort['sampling'] != 'poisson' or cohort.get('dropout_after'):
    private = {}
  return plan.build_plan(configs.PrivacyConfig(**private), configs.CohortConfig(**cohort), population=8, rounds=40,
                         seed=5, cohort_size_bounds=secured.cohort_size_bounds(secure))


@pytest.mark.parametrize('cohort', [
    {'sampling': 'poisson', 'cohort_size': 2}, {'sampling': 'poisson', 'cohort_size': 4},
    {'sampling': 'fixed', 'cohort_size': 5}, {'sampling': 'fixed', 'cohort_size': 3, 'dropout_after': 0.5},
    {'sampling': 'poisson', 'cohort_size': 4, 'dropout_after': 0.3}])
def test_every_draw_is_one_that_a_secure_sum_serves(cohort, tmp_path):
  """No launch is refused for its draw, so none is repeated for a better one."""
  secure = configs.SecureConfig(secure_sum='masks', secure_clients_max=5)
  for _ in range(8):
    made = _plan(secure, **cohort)  # With a new secret each time.
    secured.check_run(secure, made, rounds=40, run_dir=tmp_path)
    sizes = {len(made.cohort(round_num)) for round_num in range(1, 41)}
    # Of devices that drop out, too few may be left: then nobody's update is taken.
    assert sizes <= ({0} if 'dropout_after' in cohort else set()) | set(range(2, 6))
  if made.hides_attendance:
    assert 'at least 2 and at most 5' in str(made.sampler.describe())
    assert made.quick_epsilon(40) > _plan(configs.SecureConfig(), **cohort).quick_epsilon(40)
  free = {len(_plan(configs.SecureConfig(), **cohort).cohort(round_num)) for round_num in range(1, 200)}
  assert cohort['sampling'] == 'fixed' or not free <= set(range(2, 6))


@pytest.mark.parametrize('cohort, said', [
    ({'sampling': 'poisson', 'cohort_size': 6}, 'cohort_size=6 exceeds secure_clients_max=5: raise'),
    ({'sampling': 'fixed', 'cohort_size': 6}, 'cohort_size=6 exceeds secure_clients_max=5: raise'),
    ({'sampling': 'fixed', 'cohort_size': 1}, 'cohort_size=1 is too small for a secure sum'),
    ({'sampling': 'round_robin', 'cohort_size': 1}, 'cohort_size=1 is too small for a secure sum')])
def test_settings_that_no_draw_could_serve_are_refused(cohort, said):
  with pytest.raises(ValueError, match=said):
    _plan(configs.SecureConfig(secure_sum='he', secure_clients_max=5), **cohort)


def test_settings_that_hardly_any_draw_could_serve_are_refused():
  with pytest.raises(ValueError, match='73 % of Poisson cohorts'):
    cohort_sizes.check(cohort_sizes.Sizes(least=2, most=2), expected=2, records=1000, sampling='poisson')
  cohort_sizes.check(cohort_sizes.Sizes(least=2, most=2), expected=2, records=1000, sampling='fixed')


def test_the_plan_calibrates_and_the_planner_foretells_at_bounded_sizes():
  sizes = cohort_sizes.Sizes(least=2, most=20)
  made = plan.build_plan(
      configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1.0, target_epsilon=3.0, delta=1e-4),
      configs.CohortConfig(sampling='poisson', cohort_size=10), population=200, rounds=20, seed=3,
      cohort_size_bounds=sizes)
  assert 2.99 < made.ledger(20).epsilon <= 3.0
  row = mechanism_comparison.independent(mechanism_comparison.Setting(population=200, cohort_size=10, rounds=20,
                                                                      target_epsilon=3.0, delta=1e-4,
                                                                      sizes=sizes))
  assert row.noise_multiplier == pytest.approx(made.noise_multiplier, rel=5e-3)


def test_what_a_small_limit_costs():
  """The figures of docs/explanation/privacy.md: 10 of 100 clients, noise 1, 100 rounds, delta 1e-5."""
  found = [accounting.SampledGaussian(
      rounds=100, cohort_size=10, population=100, noise_multiplier=1.0, sampling='poisson', sizes=sizes).epsilon(1e-5)
           for sizes in (cohort_sizes.Sizes(), *(cohort_sizes.Sizes(least=2, most=most) for most in (32, 16)))]
  np.testing.assert_allclose(found, [7.05, 7.37, 12.4], rtol=3e-3)
