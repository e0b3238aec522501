"""The whole curve of a promise, against closed forms and against attacks."""

import dataclasses
import math

import dp_accounting
import numpy as np
import pytest
from scipy import stats

from tff_vision import configs
from tff_vision.accounting import accounting, events, gdp, profiles
from tff_vision.privacy import plan


def gaussian(mu):
  return dp_accounting.GaussianDpEvent(1 / mu)


@pytest.mark.parametrize('mu', [0.3, 1.0, 2.5])
def test_the_gaussian_mechanism_is_known_in_closed_form(mu):
  exact = profiles.section(profiles.Promise(mu=mu, population=100), 1e-5, unit='client')
  by_loss = profiles.section(profiles.Promise(events=(gaussian(mu),), population=100), 1e-5, unit='client')
  assert exact.mu == mu and exact.mu_exact and exact.mu_slack == 0
  assert not by_loss.mu_exact and by_loss.mu_slack == 1e-5
  assert by_loss.mu == pytest.approx(mu, rel=0.05)
  for found in (exact, by_loss):
    for epsilon, delta in zip(found.epsilon, found.delta, strict=True):
      assert delta == pytest.approx(gdp.delta(mu, epsilon), rel=2e-3, abs=1e-9)
    assert found.delta[-1] < 2e-8
    for alarms, power in found.true_positive_rate.items():
      # Neyman and Pearson: the threshold test on one normal observation.
      assert power == pytest.approx(stats.norm.sf(stats.norm.isf(alarms) - mu), rel=0.02)
    # Replacing an example within a client moves the sum twice as far: the bound by two steps is not below that.
    for alarms, power in found.true_positive_rate_example.items():
      assert stats.norm.sf(stats.norm.isf(alarms) - 2 * mu) <= power <= 1


def test_no_attack_on_a_sampled_mechanism_finds_more():
  """The likelihood-ratio test over 40 rounds, by sampling, stays below and comes near."""
  rate, noise, rounds = 0.2, 1.0, 40
  event = dp_accounting.SelfComposedDpEvent(
      dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise)), rounds)
  found = profiles.section(profiles.Promise(events=(event,), population=1000), 1e-4, unit='example')
  rng, samples = np.random.default_rng(3), 60_000
  losses = []
  for taken in (0.0, rate):
    x = noise * rng.standard_normal((samples, rounds)) + (rng.random((samples, rounds)) < taken)
    losses.append(np.log1p(rate * np.expm1((x - 0.5) / noise ** 2)).sum(axis=1))
  for alarms, allowed in found.true_positive_rate.items():
    power = (losses[1] > np.quantile(losses[0], 1 - alarms)).mean()
    assert 0.8 * allowed < power < allowed + 0.02
  assert found.true_positive_rate_example is None
  # Where delta is above the slack, no Gaussian curve with a smaller mu is above: and this one is, with it, everywhere.
  for epsilon, delta in zip(found.epsilon, found.delta, strict=True):
    assert delta <= gdp.delta(found.mu, epsilon) + found.mu_slack + 1e-9
  assert any(delta > gdp.delta(0.97 * found.mu, epsilon) + found.mu_slack
             for epsilon, delta in zip(found.epsilon, found.delta, strict=True))


def test_renyi_accounting_gives_a_looser_curve():
  by_renyi = profiles.section(profiles.Promise(epsilon=lambda delta: accounting.epsilon_rdp(gaussian(1.0), delta),
                                               population=100), 1e-5, unit='example')
  exact = profiles.section(profiles.Promise(mu=1.0, population=100), 1e-5, unit='example')
  assert by_renyi.epsilon[0] == 0 and by_renyi.delta[0] >= gdp.delta(1.0, 0.0)
  for alarms, power in by_renyi.true_positive_rate.items():
    assert exact.true_positive_rate[alarms] <= power < 6 * exact.true_positive_rate[alarms]
  assert 1.0 < by_renyi.mu < 1.8
  for epsilon, delta in zip(by_renyi.epsilon, by_renyi.delta, strict=True):
    assert gdp.delta(1.0, epsilon) <= delta


def test_many_deltas_at_once_are_those_of_the_package():
  event = dp_accounting.SelfComposedDpEvent(
      dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(0.7)), 30)
  epsilons = np.array([0.0, 0.31, 1.0, 5.0, 50.0])
  np.testing.assert_allclose(
      events.PldAccountant(value_discretization_interval=1e-3).compose(event).deltas(epsilons),
      dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-3).compose(event)._pld.get_delta_for_epsilon(
          epsilons), rtol=1e-9, atol=1e-13)


def test_several_kinds_of_clients_are_covered_by_the_dearest_at_each_delta():
  promise = profiles.Promise(events=(gaussian(1.0), gaussian(0.5)), population=100)
  both, one = (profiles.section(found, 1e-5, unit='example') for found in (
      promise, profiles.Promise(events=(gaussian(1.0),), population=100)))
  assert both == one


def test_of_many_kinds_the_renyi_curves_are_taken_together():
  many = tuple(gaussian(mu) for mu in np.linspace(0.1, 1.0, 9))
  found = profiles.section(profiles.Promise(events=many, population=100), 1e-5, unit='example')
  for epsilon, delta in zip(found.epsilon, found.delta, strict=True):
    assert gdp.delta(1.0, epsilon) <= delta
  assert found.true_positive_rate[0.01] < 0.4


def test_what_promises_nothing_has_no_profile():
  assert profiles.section(profiles.Promise(mu=math.inf, population=9), 1e-3, unit='client') is None
  event = dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(0.0))
  assert profiles.section(profiles.Promise(events=(event,), population=9), 1e-3, unit='client') is None
  blind = profiles.section(profiles.Promise(mu=0.0, population=9), 1e-3, unit='client')
  assert blind.true_positive_rate[0.01] == pytest.approx(0.01) and blind.delta[0] == 0


def test_a_weak_delta_is_said():
  assert profiles.weak_delta(1e-4, 1000, 'client') is None
  assert 'delta = 0.000101 is weak for 1000 clients' in profiles.weak_delta(1.01e-4, 1000, 'client')


@pytest.mark.parametrize('privacy, sampling', [
    ({'privacy': 'client_gaussian', 'noise_multiplier': 1.5}, 'poisson'),
    ({'privacy': 'client_gaussian', 'noise_multiplier': 1.5}, 'allocation'),
    ({'privacy': 'dp_mf', 'noise_multiplier': 8.0}, 'round_robin'),
    ({'privacy': 'dp_mf', 'mf_strategy': 'amplified', 'mf_bands': 2, 'noise_multiplier': 3.0}, 'poisson'),
    ({'privacy': 'local_dp', 'noise_multiplier': 9.0}, 'fixed'),
    ({'privacy': 'example_dp_sgd', 'noise_multiplier': 1.2}, 'fixed')])
def test_the_final_ledger_of_each_mechanism_holds_a_curve_through_its_epsilon(privacy, sampling):
  made = plan.build_plan(
      configs.PrivacyConfig(clip_norm=1.0, delta=1e-3, **privacy),
      configs.CohortConfig(sampling=sampling, cohort_size=4), population=8, rounds=8, seed=1,
      sizes=[25] * 8, client=configs.ClientConfig(batch_size=5))
  ledger = made.final_ledger(8)
  found = ledger.profile
  assert made.ledger(8).profile is None
  assert np.interp(ledger.epsilon, found.epsilon, found.delta) == pytest.approx(1e-3, rel=0.05)
  assert 0.01 < found.true_positive_rate[0.01] < 1 and found.true_positive_rate[0.001] < 1
  assert np.all(np.diff(found.delta) <= 0) and np.all(np.diff(found.true_positive_rates) >= 0)
  assert (found.true_positive_rate_example is not None) == (
      ledger.unit == 'client' and privacy['privacy'] != 'local_dp')


def test_noise_shares_have_the_curve_of_their_renyi_accounting():
  made = plan.build_plan(
      configs.PrivacyConfig(privacy='distributed_gaussian', clip_norm=1.0, noise_multiplier=3.0, delta=1e-3),
      configs.CohortConfig(cohort_size=10), population=60, rounds=20, seed=1)
  ledger = dataclasses.replace(made, value_bits=24, length=1000).final_ledger(20)
  found = ledger.profile
  assert np.interp(ledger.epsilon, found.epsilon, found.delta) == pytest.approx(1e-3, rel=0.1)
  assert found.population == 60 and 0.01 < found.true_positive_rate[0.01] < 1
