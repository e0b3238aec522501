"""Noised evaluations on held-out examples of clients who are protected as a whole: their noise, and what they cost."""

import math

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tff_vision import configs
from tff_vision.accounting import accounting, evaluated_rounds, gdp
from tff_vision.learning import right_answers
from tff_vision.privacy import plan
from tff_vision.privacy.mechanisms import base, evaluation_cost, noised_metrics
from tff_vision.privacy.noise import integer_grid


def build(sampling='poisson', **privacy):
  return plan.build_plan(
      configs.PrivacyConfig(**{'privacy': 'client_gaussian', 'clip_norm': 1.0, 'delta': 1e-5, 'noise_multiplier': 1.1,
                               **privacy}),
      configs.CohortConfig(sampling=sampling, cohort_size=50), population=1000, rounds=50, seed=3)


def test_the_ledger_of_a_client_has_training_and_evaluations():
  """50 rounds, evaluated after every tenth, and the test: 6 Gaussians of noise 8 beside the sampled ones."""
  found = build().for_evaluations(noise_multiplier=8.0, every=10, once=1)
  event = dp_accounting.ComposedDpEvent((
      dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(
          0.05, dp_accounting.GaussianDpEvent(1.1)), 50),
      dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(8.0), 6)))
  ledger, without = found.ledger(50), build().ledger(50)
  assert ledger.epsilon == pytest.approx(accounting.epsilon_pld(event, 1e-5), rel=2e-4)
  assert ledger.epsilon_rdp == pytest.approx(accounting.epsilon_rdp(event, 1e-5), rel=1e-9)
  assert ledger.epsilon > without.epsilon
  assert ledger.evaluation_noise_multiplier == 8.0 and without.evaluation_noise_multiplier is None
  # Both alone are below, and one after the other by the simplest rule above.
  assert max(without.epsilon, gdp.epsilon(math.sqrt(6) / 8, 1e-5)) < ledger.epsilon
  assert ledger.epsilon < accounting.epsilon_rdp(build().event(50), 5e-6) + gdp.epsilon(math.sqrt(6) / 8, 5e-6)
  assert ledger == type(ledger).from_json(ledger.to_json())
  assert found.spent(50).kinds[0].event == found.event(50)  # A budget over several runs pays for both.


@pytest.mark.parametrize('privacy', [
    {'privacy': 'dp_ftrl'}, {'privacy': 'dp_mf'}, {'privacy': 'dp_mf', 'mf_strategy': 'banded', 'mf_bands': 4}])
def test_under_correlated_noise_the_squares_of_mu_add_up(privacy):
  made = build(sampling='round_robin', **privacy)
  found = made.for_evaluations(noise_multiplier=4.0, every=25, once=0)
  assert found.mu(50) == pytest.approx(math.sqrt(made.mu(50)**2 + 2 / 16))
  assert found.ledger(50).epsilon == pytest.approx(gdp.epsilon(found.mu(50), 1e-5))
  amplified = build(privacy='dp_mf', mf_strategy='amplified', mf_bands=4)
  assert amplified.for_evaluations(noise_multiplier=4.0, every=25, once=0).ledger(50).epsilon > (
      amplified.ledger(50).epsilon)


@pytest.mark.parametrize(('rounds', 'every', 'once', 'past', 'times'), [
    (50, 10, 1, {}, 6), (51, 10, 0, {}, 6), (1, 10, 0, {}, 1), (0, 10, 1, {}, 1),
    (50, 10, 0, {'repeated': (10, 11)}, 7), (50, 10, 0, {'replayed': (3,)}, 6),
    # Ten rounds were evaluated, checkpoints of the last five were lost, and the run ended after the sixth ran again.
    (6, 1, 0, {'delivered': dict.fromkeys(range(1, 11), 3), 'repeated': (6,)}, 11)])
def test_how_many_there_are_at_most(rounds, every, once, past, times):
  cost = evaluation_cost.EvaluationCost(noise_multiplier=2.0, every=every, once=once)
  assert cost.times(rounds, base.Past(**past)) == times
  assert cost.mu(rounds, base.Past(**past)) == pytest.approx(math.sqrt(times) / 2)


@given(st.integers(1, 300), st.integers(1, 60))
def test_each_evaluated_round_is_charged(rounds, every):
  cost = evaluation_cost.EvaluationCost(noise_multiplier=2.0, every=every)
  found = [number for number in range(1, rounds + 1) if evaluated_rounds.is_evaluated(number, every, rounds)]
  assert found[-1] == rounds and cost.times(rounds) == len(found)


@given(st.integers(0, 500), st.floats(0, 1), st.integers(1, 64))
def test_no_client_moves_the_sums_by_more_than_the_sensitivity(number, share, most):
  tally = right_answers.OfRightAnswers(objective=None, most=most)
  right = round(number * share) * right_answers.ANSWER_STEPS
  examples, told = tally.told(tf.constant([number, right], tf.int64)).numpy()
  assert examples == min(number, most) and 0 <= told <= examples * right_answers.ANSWER_STEPS
  moved = math.hypot(examples * right_answers.ANSWER_STEPS, told - examples * right_answers.ANSWER_STEPS / 2)
  assert moved <= noised_metrics.SENSITIVITY * most * right_answers.ANSWER_STEPS * (1 + 1e-12)
  if number:  # Its accuracy is what it was, up to a step.
    assert told / examples == pytest.approx(right / number, abs=1)


def test_the_noise_grows_with_what_a_client_may_change():
  release = noised_metrics.NoisedMetrics(noise_multiplier=2.0, secret=bytes(32), most=16).release
  counts = [release({'clients': 800, 'accuracy_steps': 600 * integer_grid.STEPS}, number)['cohort_size']
            for number in range(60)]
  assert np.std(counts) == pytest.approx(2 * 16 * noised_metrics.SENSITIVITY, rel=4 / math.sqrt(120))


@pytest.mark.parametrize(('fields', 'said'), [
    ({'privacy': 'local_dp'}, 'evaluation_noise_multiplier=2.0 has no effect with privacy=local_dp'),
    ({'privacy': 'distributed_gaussian'}, 'has no effect with privacy=distributed_gaussian'),
    ({'noise_multiplier': None, 'target_epsilon': 3.0}, 'does not go with target_epsilon=3 .*calibrated without them'),
    ({'evaluation_noise_multiplier': None, 'evaluation_most_examples': 4}, 'has no effect without'),
    ({'evaluation_most_examples': 0}, 'evaluation_most_examples must be positive'),
    ({'evaluation_most_examples': 2**21}, 'must be at most 1048576'),
    ({'evaluation_noise_multiplier': 1e300, 'evaluation_most_examples': 2**20},
     r'evaluation_noise_multiplier must be at most 67108864, found 1e\+300'),
    ({'evaluation_noise_multiplier': 1000.0, 'evaluation_most_examples': 2**20},
     'evaluation_noise_multiplier=1000 times evaluation_most_examples=1048576 must be at most 67108864: integers'),
    ({'evaluation_noise_multiplier': 65.0, 'evaluation_most_examples': 2**20}, 'must be at most 67108864: integers'),
    ({'metrics_noise_multiplier': 1e9}, 'metrics_noise_multiplier must be at most 67108864'),
    ({'noise_multiplier': 1e9}, 'noise_multiplier must be at most 67108864'),
    ({'privacy': 'example_dp_sgd', 'evaluation_most_examples': 4}, 'evaluation_most_examples=4 has no effect with'),
])
def test_where_it_makes_no_sense_it_is_refused(fields, said):
  with pytest.raises(ValueError, match=said):
    configs.PrivacyConfig(**{'privacy': 'client_gaussian', 'clip_norm': 1.0, 'noise_multiplier': 1.0,
                             'evaluation_noise_multiplier': 2.0, **fields})


def test_without_anything_to_evaluate_it_is_refused():
  with pytest.raises(ValueError, match='has no effect without select_best, except in a federation'):
    configs.ExperimentConfig(cohort=configs.CohortConfig(sampling='poisson'), privacy=configs.PrivacyConfig(
        privacy='client_gaussian', clip_norm=1.0, noise_multiplier=1.0, evaluation_noise_multiplier=2.0)).check()
