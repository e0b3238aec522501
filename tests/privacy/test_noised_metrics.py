"""Counts and accuracies of cohorts: what they say, their noise, and what they cost beside the updates."""

import math

import dp_accounting
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_vision import configs
from tff_vision.accounting import accounting, gdp
from tff_vision.learning import local_steps
from tff_vision.privacy import plan
from tff_vision.privacy.mechanisms import noised_metrics
from tff_vision.privacy.noise import integer_grid

SECRET = bytes(range(32))


def build(sampling='poisson', **privacy):
  return plan.build_plan(
      configs.PrivacyConfig(**{'privacy': 'client_gaussian', 'clip_norm': 1.0, 'delta': 1e-5, **privacy}),
      configs.CohortConfig(sampling=sampling, cohort_size=50), population=1000, rounds=50, seed=3)


def measured(*accuracies):
  return {'clients': len(accuracies), 'accuracy_steps': sum(round(one * integer_grid.STEPS) for one in accuracies)}


@given(st.integers(0, integer_grid.STEPS))
def test_no_client_moves_the_numbers_by_more_than_the_sensitivity(steps):
  moved = math.hypot(integer_grid.STEPS, steps - integer_grid.STEPS // 2)
  assert moved <= noised_metrics.SENSITIVITY * integer_grid.STEPS * (1 + 1e-12)
  assert local_steps.ACCURACY_STEPS == integer_grid.STEPS


def test_without_noise_they_are_the_cohort_and_the_mean_over_its_clients():
  release = noised_metrics.NoisedMetrics(noise_multiplier=1e-9, secret=SECRET).release
  assert release(measured(0.5, 1.0, 0.25), 1) == pytest.approx({'cohort_size': 3, 'accuracy': 1.75 / 3}, abs=1e-5)
  assert release(measured(), 1) == pytest.approx({'cohort_size': 0, 'accuracy': 0.5}, abs=1e-5)


def test_noise_has_its_deviation_belongs_to_the_round_and_lies_on_the_grid():
  made = noised_metrics.NoisedMetrics(noise_multiplier=4.0, secret=SECRET)
  released = [made.release(measured(*[0.75] * 100), number) for number in range(150)]
  counts = np.array([one['cohort_size'] for one in released])
  sums = np.array([(one['accuracy'] - 0.5) * max(one['cohort_size'], 1) for one in released])
  for found, exact in ((counts, 100), (sums, 25)):
    assert found.std() == pytest.approx(4 * noised_metrics.SENSITIVITY, rel=4 / math.sqrt(2 * 150))
    assert abs(found.mean() - exact) < 4 * 4 * noised_metrics.SENSITIVITY / math.sqrt(150)
  assert abs(np.corrcoef(counts, sums)[0, 1]) < 4 / math.sqrt(150)
  assert made.release(measured(*[0.75] * 100), 7) == released[7]
  other = noised_metrics.NoisedMetrics(noise_multiplier=4.0, secret=SECRET[::-1])
  assert other.release(measured(*[0.75] * 100), 7) != released[7]
  np.testing.assert_array_equal(counts * integer_grid.STEPS, np.round(counts * integer_grid.STEPS))


def test_the_ledger_charges_updates_and_metrics_together():
  made = build(noise_multiplier=1.1, metrics_noise_multiplier=4.0)
  once = dp_accounting.GaussianDpEvent((1.1 ** -2 + 4 ** -2) ** -0.5)
  event = dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(0.05, once), 50)
  ledger, plain = made.ledger(50), build(noise_multiplier=1.1).ledger(50)
  assert ledger.epsilon == pytest.approx(accounting.epsilon_pld(event, 1e-5), 1e-9)
  assert ledger.epsilon_rdp == pytest.approx(accounting.epsilon_rdp(event, 1e-5), 1e-9)
  assert ledger.epsilon > plain.epsilon and ledger.metrics_noise_multiplier == 4
  assert plain.metrics_noise_multiplier is None


@pytest.mark.parametrize('privacy', [
    {}, {'privacy': 'client_adaptive'}, {'privacy': 'dp_ftrl', 'sampling': 'round_robin'},
    {'privacy': 'dp_mf', 'sampling': 'round_robin'}, {'privacy': 'dp_mf', 'mf_strategy': 'amplified', 'mf_bands': 4}])
def test_a_target_is_met_by_both_together(privacy):
  made = build(target_epsilon=2.0, metrics_noise_multiplier=12.0, **privacy)
  assert 1.98 < made.ledger(50).epsilon <= 2.0 + 1e-9
  assert made.noise_multiplier > build(target_epsilon=2.0, **privacy).noise_multiplier
  with pytest.raises(ValueError, match='metrics_noise_multiplier=0.3'):
    build(target_epsilon=2.0, metrics_noise_multiplier=0.3, **privacy)


def test_in_a_fixed_order_each_turn_pays_once():
  made = build(privacy='dp_mf', sampling='round_robin', noise_multiplier=5.0, metrics_noise_multiplier=4.0)
  plain = build(privacy='dp_mf', sampling='round_robin', noise_multiplier=5.0)
  # 20 rounds between two turns: three turns in 50 rounds.
  assert made.mu(50) == pytest.approx(math.sqrt(plain.mu(50) ** 2 + 3 / 16))
  assert gdp.together(0.0, 1.0) == 0 and gdp.beside(1.0, 1.0) is None


@pytest.mark.parametrize('privacy', ['example_dp_sgd', 'local_dp', 'distributed_gaussian', 'none'])
def test_where_the_server_adds_no_noise_they_are_refused(privacy):
  with pytest.raises(ValueError, match='metrics_noise_multiplier=4.0 has no effect'):
    configs.PrivacyConfig(privacy=privacy, metrics_noise_multiplier=4.0,
                          **({} if privacy == 'none' else {'clip_norm': 1.0, 'noise_multiplier': 1.0}))


@pytest.mark.parametrize('privacy', [{}, {'privacy': 'dp_mf', 'mf_strategy': 'amplified', 'mf_bands': 4}])
def test_who_knows_the_seed_does_not_know_the_cohorts(privacy):
  one, other = (build(noise_multiplier=1.0, **privacy) for _ in range(2))
  np.testing.assert_array_equal(one.cohort(7), one.cohort(7))
  assert not np.array_equal(one.cohort(7), other.cohort(7))
  sizes = [len(one.cohort(number)) for number in range(400)]
  # The secret is new in each run: six deviations.
  assert np.mean(sizes) == pytest.approx(50, abs=6 * math.sqrt(50 / 400))
  assert repr(one.sampler.secret) not in repr(one)


def test_a_task_without_accuracy_is_refused():
  with pytest.raises(ValueError, match='metrics_noise_multiplier=4.0 does not go with task=embedding: it releases'):
    configs.ExperimentConfig(
        task=configs.TaskConfig(task='embedding'), cohort=configs.CohortConfig(sampling='poisson'),
        privacy=configs.PrivacyConfig(
            privacy='client_gaussian', clip_norm=1.0, noise_multiplier=1.0, metrics_noise_multiplier=4.0))
