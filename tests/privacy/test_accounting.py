import math

import dp_accounting
import numpy as np
import pytest

from tff_vision.accounting import accounting, calibration, cohort_sizes, gdp


def releases(sampling='poisson', rounds=100, cohort_size=120, population=3383, noise_multiplier=1.2):
  return accounting.SampledGaussian(rounds=rounds, cohort_size=cohort_size, population=population,
                                    noise_multiplier=noise_multiplier, sampling=sampling)


def test_the_published_budget_of_the_tff_tutorial():
  """120 of 3,383 clients, noise 1.2, 100 rounds: epsilon 2 by Renyi accounting; PLD finds 1.71."""
  run = releases()
  assert accounting.epsilon_rdp(run.event(), 1e-5, run.relation) == pytest.approx(1.9861, abs=5e-5)
  assert accounting.epsilon_pld(run.event(), 1e-5, run.relation) == pytest.approx(1.7075, abs=5e-4)


@pytest.mark.parametrize('epochs, noise, published', [(15, 1.3, 1.19), (60, 1.1, 3.01), (45, 0.7, 7.10)])
def test_the_published_budgets_of_the_mnist_tutorial(epochs, noise, published):
  """tensorflow-privacy, batch 256 of 60,000: with the conversion of its day, Mironov 2017, Proposition 3."""
  run = releases(rounds=epochs * 60000 // 256, cohort_size=256, population=60000, noise_multiplier=noise)
  accountant = dp_accounting.rdp.RdpAccountant().compose(run.event())
  orders = np.array(accountant.orders)
  assert min(accountant.rdp + np.log(1e5) / (orders - 1)) == pytest.approx(published, abs=0.012)
  assert accounting.epsilon_rdp(run.event(), 1e-5, run.relation) < published


def test_poisson_equals_dp_accounting_written_out():
  event = dp_accounting.SelfComposedDpEvent(
      dp_accounting.PoissonSampledDpEvent(120 / 3383, dp_accounting.GaussianDpEvent(1.2)), 100)
  run = releases()
  assert accounting.epsilon_rdp(run.event(), 1e-5, run.relation) == pytest.approx(
      dp_accounting.rdp.RdpAccountant().compose(event).get_epsilon(1e-5), abs=1e-6)
  assert accounting.epsilon_pld(run.event(), 1e-5, run.relation) == pytest.approx(
      dp_accounting.pld.PLDAccountant().compose(event).get_epsilon(1e-5), abs=1e-6)


def test_fixed_cohorts_are_replacements_at_twice_the_sensitivity():
  run = releases('fixed')
  event = dp_accounting.SelfComposedDpEvent(
      dp_accounting.SampledWithoutReplacementDpEvent(3383, 120, dp_accounting.GaussianDpEvent(0.6)), 100)
  accountant = dp_accounting.rdp.RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE)
  assert accounting.epsilon_rdp(run.event(), 1e-5, run.relation) == pytest.approx(
      accountant.compose(event).get_epsilon(1e-5), abs=1e-6)
  assert run.epsilon(1e-5, fine=True) == pytest.approx(accountant.get_epsilon(1e-5), abs=1e-6)
  assert accounting.epsilon_pld(run.event(), 1e-5, run.relation) is None
  assert run.epsilon(1e-5, fine=True) > releases().epsilon(1e-5)


def test_shuffled_batches_cost_one_plain_release_a_pass():
  # 100 rounds of 120 are 3.5 passes over 3383 records: four releases, mu = 2 / 3.
  assert releases('shuffled', noise_multiplier=3.0).epsilon(1e-5, fine=True) == pytest.approx(
      gdp.epsilon(2 / 3, 1e-5), abs=1e-3)


def test_changing_a_client_costs_at_most_a_removal_and_an_addition():
  run = releases()
  assert 2 * run.epsilon(1e-5) < accounting.replacement_epsilon(run, 1e-5) < 2 * run.epsilon(1e-7)
  shuffled = releases('shuffled', rounds=28, noise_multiplier=2.0)
  assert accounting.replacement_epsilon(shuffled, 1e-5) == pytest.approx(gdp.epsilon(1.0, 1e-5))
  assert accounting.replacement_epsilon(releases(noise_multiplier=0.0), 1e-5) == math.inf


@pytest.mark.parametrize('sampling', ['poisson', 'fixed', 'shuffled'])
def test_noise_meets_the_budget_and_no_more(sampling):
  run = releases(sampling, noise_multiplier=1.0)
  noise = calibration.noise_multiplier(run, 2.0, 1e-5)
  spent = releases(sampling, noise_multiplier=noise).epsilon(1e-5, fine=True)
  assert 2.0 * (1 - 2e-5) <= spent <= 2.0
  assert noise <= calibration.noise_multiplier(run, 2.0, 1e-5, fine=False) <= 1.02 * noise


@pytest.mark.slow
def test_noise_agrees_with_dp_accounting():
  expected = dp_accounting.calibrate_dp_mechanism(
      lambda: dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-4),
      lambda noise: releases(noise_multiplier=noise).event(), 2.0, 1e-5,
      dp_accounting.ExplicitBracketInterval(1.10, 1.12), tol=1e-5)
  assert calibration.noise_multiplier(releases(), 2.0, 1e-5) == pytest.approx(expected, abs=3e-5)


@pytest.mark.parametrize('sampling, noise', [('poisson', 1.2), ('fixed', 3.0), ('shuffled', 4.0)])
def test_rounds_are_the_last_that_fit(sampling, noise):
  found = calibration.rounds(releases(sampling, noise_multiplier=noise), 2.0, 1e-5)
  fits = releases(sampling, rounds=found, noise_multiplier=noise)
  # One more round, or for shuffled batches one more pass, would not fit.
  over = releases(sampling, rounds=found + 1, noise_multiplier=noise)
  assert fits.epsilon(1e-5, fine=True) <= 2.0 < over.epsilon(1e-5, fine=True)


def test_unreachable_budgets_are_refused():
  with pytest.raises(ValueError, match='target_epsilon'):
    calibration.rounds(releases(noise_multiplier=0.1), 0.5, 1e-5)
  with pytest.raises(ValueError, match='target_epsilon'):
    calibration.noise_multiplier(releases(rounds=10 ** 6, population=120), 1e-4, 1e-5)
  with pytest.raises(ValueError, match='cohort_size=120'):
    releases(population=100)


@pytest.mark.parametrize('noise', [1e-2, 1e-4, 1e-6, 1e-9])
def test_next_to_no_noise_has_a_large_epsilon_and_no_fault(noise):
  for event in (dp_accounting.GaussianDpEvent(noise),
                dp_accounting.PoissonSampledDpEvent(0.5, dp_accounting.GaussianDpEvent(noise))):
    epsilon, _ = accounting.tightest(event, 1e-5)
    assert 0.4 / noise ** 2 < epsilon < 2 / noise ** 2
    # As a part of a larger sum, and as a curve.
    whole = dp_accounting.ComposedDpEvent((event, dp_accounting.GaussianDpEvent(1.0)))
    assert epsilon <= accounting.tightest(whole, 1e-5)[0] < 2 / noise ** 2 + 100
    with np.errstate(over='raise', invalid='raise'):
      curve = accounting.profile((event,), 1e-5, accounting.Relation.ADD_OR_REMOVE_ONE, np.linspace(0, 1, 5))
    assert curve is None or np.all((0 <= curve[1]) & (curve[1] <= 1)) and curve[1][-1] < 2e-5


def test_a_loss_that_the_accountant_cannot_put_on_a_grid_is_bounded_by_renyi():
  noise = 0.058798030272794795  # Of its deltas two rise, in float64, and dp_accounting refuses them.
  event = dp_accounting.PoissonSampledDpEvent(1 / 3, dp_accounting.GaussianDpEvent(noise))
  epsilon, accountant = accounting.tightest(event, 0.2986, interval=accounting.COARSE_INTERVAL)
  assert accountant == accounting.Accountant.RDP and 0.4 / noise ** 2 < epsilon < 2 / noise ** 2


@pytest.mark.parametrize('sampling', accounting.RELATIONS)
@pytest.mark.parametrize('noise', [1e6, 6e7])
def test_very_much_noise_costs_next_to_nothing_and_is_no_fault(sampling, noise):
  found = releases(sampling=sampling, noise_multiplier=noise)
  assert 0 <= found.epsilon(1e-5) < 1e-2
  bounded = accounting.SampledGaussian(rounds=10, cohort_size=120, population=3383, noise_multiplier=noise,
                                       sampling='poisson', sizes=cohort_sizes.Sizes(least=2, most=150))
  assert 0 <= bounded.epsilon(1e-5) < 1e-2
