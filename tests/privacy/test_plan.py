"""Cohorts are pure functions; the plan's epsilon is dp_accounting's and the settings are honest."""

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision import configs
from tff_vision.privacy import accounting, cohorts, plan


def build(population=1000, rounds=50, sampling='poisson', cohort_size=50, **privacy):
  return plan.build_plan(
      configs.PrivacyConfig(**{'privacy': 'client_gaussian', 'clip_norm': 1.0, **privacy}),
      configs.CohortConfig(sampling=sampling, cohort_size=cohort_size), population=population, rounds=rounds, seed=3)


@given(st.integers(1, 300), st.data(), st.integers(0, 2**40), st.integers(1, 10**6))
def test_fixed_cohorts_are_distinct_clients_and_repeat(population, data, seed, round_num):
  size = data.draw(st.integers(1, population))
  cohort = cohorts.FixedCohort(population=population, size=size, seed=seed)
  drawn = cohort(round_num)
  assert len(set(drawn)) == size and drawn.min() >= 0 and drawn.max() < population
  np.testing.assert_array_equal(drawn, cohort(round_num))


@settings(max_examples=20)
@given(st.integers(0, 2**40))
def test_poisson_cohorts_include_each_client_independently_at_the_rate(seed):
  cohort = cohorts.PoissonCohort(population=200, rate=0.1, seed=seed)
  members = np.zeros((300, 200))
  for round_num in range(300):
    members[round_num, cohort(round_num)] = 1
  assert abs(members.mean() - 0.1) < 5 * np.sqrt(0.09 / members.size)
  # Sizes vary as a binomial's do: a sampler that fixes them would have variance zero.
  assert 0.6 < members.sum(axis=1).var() / (200 * 0.09) < 1.6
  np.testing.assert_array_equal(cohort(7), cohort(7))


def test_epsilon_is_dp_accountings():
  ledger = build(noise_multiplier=1.1, delta=1e-5).ledger(50)
  event = dp_accounting.SelfComposedDpEvent(
      dp_accounting.PoissonSampledDpEvent(0.05, dp_accounting.GaussianDpEvent(1.1)), 50)
  assert ledger['epsilon'] == pytest.approx(dp_accounting.pld.PLDAccountant().compose(event).get_epsilon(1e-5), 1e-9)
  assert ledger['epsilon_rdp'] == pytest.approx(
      dp_accounting.rdp.RdpAccountant().compose(event).get_epsilon(1e-5), 1e-9)
  assert ledger['epsilon'] <= ledger['epsilon_rdp']
  assert {'delta', 'unit', 'relation', 'sampling', 'accountant', 'rounds', 'noise_multiplier',
          'clip_norm'} <= set(ledger)


@pytest.mark.parametrize('target', [0.5, 3.0])
def test_calibrated_noise_spends_the_target_and_not_more(target):
  made = build(target_epsilon=target, delta=1e-5)
  assert 0.99 * target <= made.ledger(50)['epsilon'] <= target


def test_delta_defaults_below_one_over_the_population():
  assert build(noise_multiplier=1.0).delta == pytest.approx(1000**-1.1)
  assert build(noise_multiplier=1.0).delta < 1 / 1000


def test_no_noise_promises_nothing():
  assert build(noise_multiplier=0.0).ledger(1)['epsilon'] == np.inf


@pytest.mark.parametrize(('change', 'match'), [
    ({'sampling': 'fixed'}, 'sampling=poisson'), ({'cohort_size': 1001}, 'cohort_size=1001'),
    ({'delta': 0.001}, 'delta'), ({'delta': 0.5}, 'delta')])
def test_dishonest_or_impossible_settings_are_refused(change, match):
  with pytest.raises(ValueError, match=match):
    build(**{'noise_multiplier': 1.0, **change})


def test_an_unreachable_target_is_refused():
  with pytest.raises(ValueError, match='target_epsilon=1e-09'):
    accounting.calibrate(dp_accounting.GaussianDpEvent, target_epsilon=1e-9, delta=1e-12)


def test_exact_training_metrics_stay_inside_a_private_run():
  assert not build(noise_multiplier=1.0).releases_exact_metrics
  none = plan.build_plan(configs.PrivacyConfig(), configs.CohortConfig(cohort_size=2), population=4, rounds=1, seed=0)
  assert none.releases_exact_metrics and none.ledger(9) == {'mechanism': 'none'}
