"""Cohorts are pure functions; the plan's epsilon is dp_accounting's and the settings are honest."""

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision import configs
from tff_vision.accounting import gdp
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import mechanism_comparison, plan
from tff_vision.privacy.mechanisms import noised_mean


def build(population=1000, rounds=50, sampling='poisson', cohort_size=50, **privacy):
  return plan.build_plan(
      configs.PrivacyConfig(**{'privacy': 'client_gaussian', 'clip_norm': 1.0, **privacy}),
      configs.CohortConfig(sampling=sampling, cohort_size=cohort_size), population=population, rounds=rounds, seed=3)


@given(st.integers(1, 300), st.data(), st.integers(0, 2**40), st.integers(1, 10**6))
def test_fixed_cohorts_are_distinct_clients_and_repeat(population, data, seed, round_num):
  size = data.draw(st.integers(1, population))
  cohort = cohort_sampling.FixedCohort(population=population, size=size, seed=seed)
  drawn = cohort(round_num)
  assert len(set(drawn)) == size and drawn.min() >= 0 and drawn.max() < population
  np.testing.assert_array_equal(drawn, cohort(round_num))


@settings(max_examples=20)
@given(st.integers(0, 2**40))
def test_poisson_cohorts_include_each_client_independently_at_the_rate(seed):
  cohort = cohort_sampling.PoissonCohort(population=200, rate=0.1, seed=seed)
  members = np.zeros((300, 200))
  for round_num in range(300):
    members[round_num, cohort(round_num)] = 1
  # Of twenty seeds, which are new at a desk.
  assert abs(members.mean() - 0.1) < 6 * np.sqrt(0.09 / members.size)
  # Sizes vary as a binomial's do: a sampler that fixes them would have variance zero.
  assert 0.6 < members.sum(axis=1).var() / (200 * 0.09) < 1.6
  np.testing.assert_array_equal(cohort(7), cohort(7))


def test_epsilon_is_dp_accountings():
  ledger = build(noise_multiplier=1.1, delta=1e-5).ledger(50)
  event = dp_accounting.SelfComposedDpEvent(
      dp_accounting.PoissonSampledDpEvent(0.05, dp_accounting.GaussianDpEvent(1.1)), 50)
  assert ledger.epsilon == pytest.approx(dp_accounting.pld.PLDAccountant().compose(event).get_epsilon(1e-5), 1e-9)
  assert ledger.epsilon_rdp == pytest.approx(
      dp_accounting.rdp.RdpAccountant().compose(event).get_epsilon(1e-5), 1e-9)
  assert ledger.epsilon <= ledger.epsilon_rdp
  assert str(ledger.sampling) == 'poisson, rate 0.05' and (ledger.delta, ledger.rounds) == (1e-5, 50)


@pytest.mark.parametrize('target', [0.5, 3.0])
def test_calibrated_noise_spends_the_target_and_not_more(target):
  made = build(target_epsilon=target, delta=1e-5)
  assert 0.99 * target <= made.ledger(50).epsilon <= target


def test_delta_defaults_below_one_over_the_population():
  assert build(noise_multiplier=1.0).delta == pytest.approx(1000**-1.1)
  assert build(noise_multiplier=1.0).delta < 1 / 1000


def test_no_noise_promises_nothing():
  assert build(noise_multiplier=0.0).ledger(1).epsilon == np.inf


@pytest.mark.parametrize(('change', 'match'), [
    ({'sampling': 'fixed'}, 'sampling=poisson'), ({'cohort_size': 1001}, 'cohort_size=1001'),
    ({'delta': 0.001}, 'delta'), ({'delta': 0.5}, 'delta')])
def test_dishonest_or_impossible_settings_are_refused(change, match):
  with pytest.raises(ValueError, match=match):
    build(**{'noise_multiplier': 1.0, **change})


def test_exact_training_metrics_stay_inside_a_private_run():
  assert not build(noise_multiplier=1.0).releases_exact_metrics
  none = plan.build_plan(configs.PrivacyConfig(), configs.CohortConfig(cohort_size=2), population=4, rounds=1, seed=0)
  assert none.releases_exact_metrics and none.ledger(9).to_json() == {'mechanism': 'none'}


@settings(max_examples=30)
@given(st.integers(2, 60), st.data(), st.integers(0, 2**40))
def test_round_robin_keeps_the_distance_that_sensitivity_relies_on(population, data, seed):
  size = data.draw(st.integers(1, population))
  sampler = cohort_sampling.RoundRobinCohort(population=population, size=size, seed=seed)
  last = {}
  for round_num in range(1, 4 * (population // size) + 4):
    for client in sampler(round_num):
      assert round_num - last.get(client, -population) >= sampler.min_separation
      last[client] = round_num


def test_blocks_in_turn_draw_each_client_at_the_block_rate():
  sampler = cohort_sampling.BlockPoissonCohort(population=120, rate=0.05, num_blocks=4, seed=1)
  members = np.zeros((800, 120))
  for round_num in range(800):
    members[round_num, sampler(round_num)] = 1
  assert abs(members.mean() - 0.05) < 0.004
  for client in range(120):
    turns = np.flatnonzero(members[:, client])
    assert len(set(turns % 4)) == 1, 'a client belongs to one block'
  with pytest.raises(ValueError, match='mf_bands=21'):
    cohort_sampling.BlockPoissonCohort(population=120, rate=0.05, num_blocks=21, seed=1)


def test_adaptive_clipping_costs_what_is_accounted():
  made = build(privacy='client_adaptive', noise_multiplier=1.0, delta=1e-5)
  plain = build(noise_multiplier=1.0, delta=1e-5)
  assert made.ledger(50).epsilon == plain.ledger(50).epsilon
  assert made.quantile == noised_mean.QuantileClip(quantile=0.5, learning_rate=0.2, count_stddev=2.5)
  # The sum carries more noise than the plain mechanism's: the count's share of the budget.
  assert made.quantile.sum_noise_multiplier(1.0) == pytest.approx((1 - 1 / 25) ** -0.5)
  with pytest.raises(ValueError, match='count_stddev=0.1'):
    build(privacy='client_adaptive', noise_multiplier=1.0, count_stddev=0.1)


@pytest.mark.parametrize('privacy', [{'privacy': 'dp_ftrl'}, {'privacy': 'dp_ftrl', 'tree_efficient': False},
                                     {'privacy': 'dp_mf'}, {'privacy': 'dp_mf', 'mf_strategy': 'banded'}])
def test_correlated_noise_is_one_gaussian_for_the_whole_run(privacy):
  made = build(sampling='round_robin', target_epsilon=2.0, delta=1e-5, **privacy)
  spent = [made.ledger(rounds).epsilon for rounds in (1, 20, 21, 50)]
  assert spent == sorted(spent) and spent[-1] == pytest.approx(2.0)
  assert made.mu(50) == pytest.approx(gdp.mu(2.0, 1e-5))
  # A second turn begins in round 21.
  assert made.ledger(20).max_participations == 1 and made.ledger(21).max_participations == 2
  # The planner foretold the noise.
  rows = mechanism_comparison.compare(mechanism_comparison.Setting(population=1000, cohort_size=50, rounds=50,
                                                                   target_epsilon=2.0, delta=1e-5))
  assert any(row.noise_multiplier == pytest.approx(made.noise_multiplier, rel=1e-3) for row in rows)


def test_amplified_bands_are_sampled_gaussians_of_their_blocks():
  made = build(privacy='dp_mf', mf_strategy='amplified', mf_bands=4, target_epsilon=2.0, delta=1e-5)
  norm = np.sqrt(sum(c * c for c in made.coefficients))
  event = dp_accounting.SelfComposedDpEvent(
      dp_accounting.PoissonSampledDpEvent(0.2, dp_accounting.GaussianDpEvent(made.noise_multiplier / norm)), 13)
  assert made.ledger(50).epsilon == pytest.approx(
      dp_accounting.pld.PLDAccountant().compose(event).get_epsilon(1e-5), abs=1e-6)
  assert 1.99 < made.ledger(50).epsilon <= 2.0
  amplified = build(privacy='dp_mf', mf_strategy='amplified', target_epsilon=2.0, delta=1e-5)
  assert len(amplified.coefficients) in (1, 2, 4, 8)


@pytest.mark.parametrize(('change', 'match'), [
    ({'privacy': 'dp_ftrl'}, 'sampling=round_robin'),
    ({'privacy': 'dp_mf', 'sampling': 'fixed'}, 'sampling=round_robin'),
    ({'privacy': 'dp_mf', 'mf_strategy': 'amplified', 'sampling': 'round_robin'}, 'sampling=poisson'),
    ({'privacy': 'dp_mf', 'mf_strategy': 'amplified'}, 'mf_bands is missing'),
    ({'privacy': 'dp_mf', 'mf_strategy': 'banded', 'mf_bands': 21, 'sampling': 'round_robin'}, 'mf_bands=21'),
    ({'mf_buffers': 2}, 'mf_buffers=2'), ({'privacy': 'dp_ftrl', 'count_stddev': 1.0}, 'count_stddev=1.0')])
def test_mechanisms_refuse_what_would_make_their_epsilon_false(change, match):
  with pytest.raises(ValueError, match=match):
    build(**{'noise_multiplier': 1.0, **change})


@pytest.mark.parametrize('privacy', [{'noise_multiplier': 1.0},
                                     {'privacy': 'dp_mf', 'sampling': 'round_robin', 'noise_multiplier': 10.0}])
def test_affordable_rounds_end_before_the_budget(privacy):
  made = build(delta=1e-5, **privacy)
  budget = made.ledger(5).epsilon
  assert made.affordable_rounds(8, budget) == 5 or made.ledger(6).epsilon == budget
  assert made.affordable_rounds(4, budget) == 4
  assert made.affordable_rounds(8, 1e-3) == 0
