"""Random allocation: its price against quadrature, sampling and closed forms; its samplers, and what they refuse."""

import math

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tff_vision import configs
from tff_vision.accounting import accounting, allocation, calibration, events, gdp
from tff_vision.aggregation import secured
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import mechanism_comparison, plan
from tff_vision.privacy.mechanisms import example_batches, example_work


def passes(steps, noise, count=1):
  return dp_accounting.SelfComposedDpEvent(events.AllocatedGaussianDpEvent(steps, noise), count)


def spent(event, interval=1e-3):
  return events.PldAccountant(value_discretization_interval=interval).compose(event)


def releases(sampling, rounds=100, cohort_size=10, population=1000, noise_multiplier=1.0):
  return accounting.SampledGaussian(rounds=rounds, cohort_size=cohort_size, population=population,
                                    noise_multiplier=noise_multiplier, sampling=sampling)


@pytest.mark.parametrize('noise, count', [(0.7, 1), (2.0, 6)])
def test_one_step_a_pass_is_the_plain_mechanism(noise, count):
  exact = gdp.epsilon(math.sqrt(count) / noise, 1e-5)
  assert exact <= spent(passes(1, noise, count), 1e-4).get_epsilon(1e-5) <= 1.001 * exact


@pytest.mark.parametrize('noise', [0.6, 1.5])
def test_two_and_three_steps_are_the_integrals(noise):
  """Hockey-stick divergences of P and Q by quadrature over two and three dimensions."""
  points, weights = np.polynomial.legendre.leggauss(160)
  z, weight = 9 * points, 9 * weights * stats.norm.pdf(9 * points)
  x = np.exp(z / noise - 0.5 / noise ** 2)
  two = (x[:, None] + x) / 2, weight[:, None] * weight
  three = (x[:, None, None] + x[:, None] + x) / 3, weight[:, None, None] * weight[:, None] * weight
  for steps, (ratio, mass) in ((2, two), (3, three)):
    found = allocation.law(steps, noise)
    for epsilon in (0.0, 0.5, 1.5):
      removed = (mass * np.maximum(ratio - math.exp(epsilon), 0)).sum()
      added = (mass * np.maximum(1 - math.exp(epsilon) * ratio, 0)).sum()
      assert found.removed(np.array([epsilon]))[0] == pytest.approx(removed, rel=5e-3, abs=2e-5)
      assert found.added(np.array([epsilon]))[0] == pytest.approx(added, rel=5e-3, abs=2e-5)
    # E R^2 by hand, and orders between whole numbers by the same quadrature, in both directions.
    orders = (1.5, 2.0, 3.5)
    bound = allocation.renyi(steps, noise, orders)
    assert math.exp(bound[1]) >= (math.exp(noise ** -2) + steps - 1) / steps * (1 - 1e-9)
    for order, divergence in zip(orders, bound, strict=True):
      true = max(np.log((mass * ratio ** order).sum()), np.log((mass * ratio ** (1 - order)).sum())) / (order - 1)
      assert true * (1 - 1e-3) <= divergence <= 1.6 * true


@pytest.mark.parametrize('steps, noise, count', [(37, 0.9, 1), (37, 0.9, 5), (150, 0.6, 3)])
def test_passes_cost_what_is_sampled(steps, noise, count):
  """Monte Carlo: the loss of both directions, summed over passes; five standard errors."""
  rng, samples = np.random.default_rng(steps + count), 30_000
  accountant, losses = spent(passes(steps, noise, count)), {}
  for shift in (0.0, 1.0):
    total = 0.0
    for _ in range(count):
      z = noise * rng.standard_normal((samples, steps))
      z[:, 0] += shift  # Which of the steps does not matter.
      total = total + np.log(np.exp((z - 0.5) / noise ** 2).mean(axis=1))
    losses[shift] = total if shift else -total
  for epsilon in (0.1, 0.5, 1.5):
    found = {shift: np.maximum(-np.expm1(epsilon - loss), 0) for shift, loss in losses.items()}
    error = max(5 * part.std() / samples ** 0.5 for part in found.values())
    assert accountant.get_delta(epsilon) == pytest.approx(max(part.mean() for part in found.values()), abs=error + 1e-4)


def test_it_costs_less_than_a_known_step_and_about_as_much_as_poisson():
  found = {sampling: releases(sampling).epsilon(1e-5, fine=True)
           for sampling in ('balls_in_bins', 'poisson', 'shuffled')}
  assert found['balls_in_bins'] < found['poisson'] < 0.3 * found['shuffled']
  run = releases('balls_in_bins', rounds=250)
  assert accounting.epsilon_pld(run.event(), 1e-5) < accounting.epsilon_rdp(run.event(), 1e-5) < math.inf
  # 250 rounds are two passes and a half, and a pass that is begun costs all of it.
  assert run.event() == passes(100, 1.0, 3)
  assert releases('balls_in_bins', cohort_size=30, population=1000).steps_a_pass == 34
  assert releases('balls_in_bins', noise_multiplier=0.0).epsilon(1e-5) == math.inf
  assert 2 * run.epsilon(1e-5) < accounting.replacement_epsilon(run, 1e-5) < math.inf


def test_hardly_any_noise_is_a_plain_release_a_pass():
  assert accounting.tightest(passes(50, 0.03, 2), 1e-5) == accounting.tightest(
      dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(0.03), 2), 1e-5)
  assert math.isfinite(accounting.tightest(passes(50, 0.06, 2), 1e-5)[0])


def test_noise_meets_the_budget():
  noise = calibration.noise_multiplier(releases('balls_in_bins', rounds=300), 2.0, 1e-5)
  assert 1.999 < releases('balls_in_bins', rounds=300, noise_multiplier=noise).epsilon(1e-5, fine=True) <= 2.0
  assert calibration.rounds(releases('balls_in_bins', noise_multiplier=noise), 2.0, 1e-5) >= 300


@pytest.mark.parametrize('secret', [None, b'\x07' * 32])
def test_each_client_takes_part_once_a_pass_in_a_random_round(secret):
  sampler = cohort_sampling.AllocationCohort(population=60, rounds_a_pass=7, seed=2, secret=secret)
  counted, sizes = np.zeros((60, 7)), []
  for first in range(1, 7 * 300, 7):
    members = [sampler(first + place) for place in range(7)]
    assert sorted(np.concatenate(members)) == list(range(60))
    sizes += map(len, members)
    for place, found in enumerate(members):
      counted[found, place] += 1
  assert ((counted - 300 / 7) ** 2 / (300 / 7)).sum() < stats.chi2.isf(1e-6, 60 * 6)
  # Binomial, so that nobody's round follows from the others'.
  assert np.var(sizes) == pytest.approx(60 / 7 * 6 / 7, rel=0.2)
  np.testing.assert_array_equal(sampler(9), sampler(9))
  assert len(np.unique([len(sampler(place)) for place in range(1, 8)])) > 1


def build(secure='none', sampling='allocation', privacy='client_gaussian', **fields):
  return plan.build_plan(
      configs.PrivacyConfig(privacy=privacy, clip_norm=1.0, target_epsilon=2.0, delta=1e-4),
      configs.CohortConfig(sampling=sampling, cohort_size=20, **fields), population=210, rounds=30, seed=1,
      cohort_size_bounds=secured.cohort_size_bounds(configs.SecureConfig(secure_sum=secure)))


@pytest.mark.parametrize('privacy', ['client_gaussian', 'client_adaptive'])
def test_plans_are_calibrated_for_it(privacy):
  made = build(privacy=privacy)
  assert made.sampler.rounds_a_pass == 11 and made.sampler.secret is not None and made.hides_attendance
  ledger = made.ledger(30)
  assert 1.99 < ledger.epsilon <= 2.0 and 'one of the 11 rounds of a pass' in str(ledger.sampling)
  # Three passes, and the first round of a pass costs all of it.
  assert made.event(30) == passes(11, made.noise_multiplier, 3) and made.event(23) == made.event(30)
  assert made.ledger(22).epsilon < ledger.epsilon
  row = mechanism_comparison.allocated(mechanism_comparison.Setting(population=210, cohort_size=20, rounds=30,
                                                                    target_epsilon=2.0, delta=1e-4))
  assert row.noise_multiplier == pytest.approx(made.noise_multiplier, rel=5e-3)


def test_what_would_break_it_is_refused():
  with pytest.raises(ValueError, match='sampling=allocation does not go with a secure sum'):
    build(secure='masks')
  with pytest.raises(ValueError, match='dropout_after=0.1 does not go with sampling=allocation'):
    build(dropout_after=0.1)
  with pytest.raises(ValueError, match='sampling=poisson or allocation'):
    build(sampling='fixed')


@pytest.mark.parametrize('count', [23])
def test_examples_fall_into_the_steps_of_a_pass(count):
  training = example_work.ExampleSgd(clip_norm=1.0, noise_multiplier=1.0, batch_size=8, epochs=2,
                                     sampling='balls_in_bins', ghost=True)
  steps = -(-count // 8)
  assert training.steps(count) == 2 * steps
  draw = tf.function(lambda key, step: example_batches.draw('balls_in_bins', 8, 1, key, step, tf.constant(count)))
  counted = np.zeros((count, steps))
  for number in range(25):
    key = tf.constant(np.random.default_rng(number).integers(2 ** 32, size=8), tf.uint32)
    drawn = [draw(key, tf.constant(step)).numpy() for step in range(2 * steps)]
    for begin in (0, steps):
      assert sorted(np.concatenate(drawn[begin:begin + steps])) == list(range(count))
    assert [part.tolist() for part in drawn[:steps]] != [part.tolist() for part in drawn[steps:]]
    for step, part in enumerate(drawn[:steps]):
      counted[part, step] += 1
  assert ((counted - 25 / steps) ** 2 / (25 / steps)).sum() < stats.chi2.isf(1e-6, count * (steps - 1))
  assert float(example_batches.expected('balls_in_bins', 8, 1, tf.constant(count))) == pytest.approx(count / steps)


def test_the_planner_says_what_it_saves():
  setting = mechanism_comparison.Setting(population=500, cohort_size=20, rounds=50, target_epsilon=2.0, delta=1e-4)
  rows = [mechanism_comparison.independent(setting), mechanism_comparison.allocated(setting)]
  plain = math.sqrt(2) / gdp.mu(2.0, 1e-4)  # Two passes of 25 rounds.
  said = mechanism_comparison.savings(rows, setting)
  assert f'{plain:.4g} without amplification' in said and 'less than Poisson sampling' in said
  assert mechanism_comparison.savings(rows[:1], setting) is None


def test_the_figures_of_the_documents():
  """Noise 1, delta 1e-5; the first pair of bounds is another implementation's, PLD_accounting 2.0."""
  for steps, count, sampled, plain in ((100, 1.70, 1.83, 17.9), (10, 6.12, 7.05, 17.9)):
    found = [releases(sampling, rounds=10 * steps, cohort_size=1, population=steps).epsilon(1e-5)
             for sampling in ('balls_in_bins', 'poisson', 'shuffled')]
    np.testing.assert_allclose(found, [count, sampled, plain], rtol=3e-3)
  assert 2.1825 < spent(passes(10, 1.0), 1e-4).get_epsilon(1e-5) < 2.1982
  assert 6.1018 < spent(passes(10, 1.0, 10), 1e-4).get_epsilon(1e-5) < 6.1392
