"""The bound of one-run auditing against the paper's numbers, closed forms, and games that are played out in full."""

import itertools
import math

import numpy as np
import pytest
from scipy import special, stats

from tff_vision.audit import guesses, one_run

TRIES = 24


@pytest.mark.parametrize(('canaries', 'guessed', 'right', 'delta', 'published'), [
    (1000, 100, 75, 1e-4, 0.673),  # arXiv:2305.08846, appendix D.
    (100_000, 1510, 1439, 1e-5, 2.675)])  # Section 7, figure 11; cut off, not rounded.
def test_the_published_numbers(canaries, guessed, right, delta, published):
  found = one_run.epsilon_low(canaries=canaries, guesses=guessed, right=right, delta=delta, error=0.05)
  assert found == pytest.approx(published, abs=1e-3)


@pytest.mark.parametrize(('guessed', 'right', 'error'), [(20, 20, 0.05), (64, 50, 0.01), (7, 6, 0.2)])
def test_without_delta_it_is_clopper_and_pearson_on_the_accuracy(guessed, right, error):
  accuracy = stats.beta.ppf(error, right, guessed - right + 1)
  expected = max(0.0, math.log(accuracy / (1 - accuracy)))
  assert one_run.epsilon_low(canaries=100, guesses=guessed, right=right, delta=0, error=error) == pytest.approx(
      expected, abs=1e-9)
  if right == guessed:  # accuracy ** guesses = error
    assert accuracy == pytest.approx(error ** (1 / guessed))


@pytest.mark.parametrize(('guessed', 'right', 'epsilon', 'delta'),
                         [(5, 4, 0.7, 0.01), (6, 6, 1.5, 0.002), (4, 1, 0, 0.1)])
def test_the_p_value_is_the_formula_summed_up_by_hand(guessed, right, epsilon, delta):
  q = math.exp(epsilon) / (1 + math.exp(epsilon))
  mass = [math.comb(guessed, k) * q**k * (1 - q)**(guessed - k) for k in range(guessed + 1)]
  slack = max(sum(mass[right - i:right]) / i for i in range(1, right + 1))
  expected = min(1, sum(mass[right:]) + 2 * 8 * delta * slack)
  found = one_run.p_value(canaries=8, guesses=guessed, right=right, epsilon=epsilon, delta=delta)
  assert found == pytest.approx(expected)


def test_no_attack_on_randomized_response_beats_it_and_the_best_one_reaches_it():
  # Each coin is told through randomized response, which is epsilon-DP: all outcomes of four coins, one by one.
  epsilon, number = 0.9, 4
  q = 1 / (1 + math.exp(-epsilon))
  for right in range(number + 1):
    chance = sum(q ** sum(hits) * (1 - q) ** (number - sum(hits)) for hits in itertools.product((0, 1), repeat=number)
                 if sum(hits) >= right)
    found = one_run.p_value(canaries=number, guesses=number, right=right, epsilon=epsilon, delta=0)
    assert found == pytest.approx(chance)


def test_a_mechanism_that_fails_with_probability_delta_stays_below_the_bound():
  # All coins are published with probability delta, else each goes through randomized response.
  rng, epsilon, delta, number, runs = np.random.default_rng(4), 0.5, 0.02, 12, 40_000
  q = 1 / (1 + math.exp(-epsilon))
  right = np.where(rng.random(runs) < delta, number, rng.binomial(number, q, runs))
  for least in range(number + 1):
    bound = one_run.p_value(canaries=number, guesses=number, right=least, epsilon=epsilon, delta=delta)
    assert (right >= least).mean() <= bound + 4 * math.sqrt(bound / runs) + 1e-3


def test_more_right_says_more_delta_says_less_and_the_ceiling_is_everything_right():
  low = lambda right, delta=1e-6, canaries=64: one_run.epsilon_low(
      canaries=canaries, guesses=64, right=right, delta=delta, error=0.01)
  assert [low(right) for right in (32, 40, 50, 60, 64)] == sorted(low(right) for right in (32, 40, 50, 60, 64))
  assert low(64, delta=1e-4) < low(64) and low(64, canaries=1000, delta=1e-5) < low(64, delta=1e-5)
  with pytest.raises(ValueError, match='cannot be'):
    one_run.p_value(canaries=5, guesses=4, right=5, epsilon=1, delta=0)


def test_guesses_are_of_sizes_that_were_fixed_before_and_what_may_go_wrong_is_shared_out():
  rng = np.random.default_rng(3)
  included = rng.random(64) < 0.5
  perfect = guesses.best(np.where(included, 1.0, -1.0) + rng.normal(0, 0.1, 64), included, delta=0, error=1e-3)
  assert perfect.right == perfect.guesses and perfect.canaries == 64
  assert perfect.epsilon_low == guesses.ceiling(64, delta=0, error=1e-3)
  assert perfect.epsilon_low == pytest.approx(special.logit(1e-3 ** (1 / 48))), 'three quarters are guessed at most'
  lows = [guesses.best(np.zeros(64), rng.random(64) < 0.5, delta=0, error=0.05 / TRIES).epsilon_low
          for _ in range(300)]
  assert np.mean(np.array(lows) > 0) < 0.05  # Four levels of a share of 1/24 each: 0.8 %.


def test_false_alarms_on_a_gaussian_mechanism_are_rarer_than_the_error():
  # Scores of 256 canaries under mu-GDP; the stated promise is exact.
  from tff_vision.accounting import gdp
  rng, mu, delta, error = np.random.default_rng(1), 0.5, 1e-6, 0.05 / TRIES
  alarms = 0
  for _ in range(200):
    included = rng.random(256) < 0.5
    alarms += guesses.best(mu * included + rng.normal(size=256), included, delta=delta,
                           error=error).epsilon_low > gdp.epsilon(mu, delta)
  assert alarms == 0
