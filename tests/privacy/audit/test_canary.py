"""Honest mechanisms stay below their theory; broken ones are caught."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from tff_vision import configs
from tff_vision.accounting import gdp
from tff_vision.audit import canary, opened_sum
from tff_vision.privacy import plan
from tff_vision.privacy.ghost import clipped
from tff_vision.privacy.matrix import blt, toeplitz
from tff_vision.privacy.mechanisms import example_work, noised_mean
from tff_vision.privacy.noise import correlated_noise, integer_grid, key_binding
from tff_vision.secure import os_keys

pytestmark = pytest.mark.usefixtures('tff_runtime', 'sure')
ROUNDS, NOISE = 4, 2.0
CANARIES, DIMENSION = 320, 8000
# Of the mean over all canaries, whose noise is new in each run: six of its deviations.
ROOM = 6 / math.sqrt(CANARIES)
FACTORY = noised_mean.NoisedMeanFactory(clip_norm=1.0, noise_multiplier=NOISE, denominator=5.0)


@pytest.fixture(name='sure')
def _sure(monkeypatch):
  """A report may be wrong once in 2,000 numbers; a test may not."""
  monkeypatch.setattr(canary, '_CONFIDENCE', 6.0)


def find(factory):
  return canary.known_round(factory, rounds=ROUNDS, canaries=CANARIES, dimension=DIMENSION, delta=1e-5, seed=1)


def test_an_honest_mechanism_shows_its_own_noise_and_no_less():
  found = find(FACTORY)
  # 80 loud canaries a round, each clipped to 1: a shift of 1 / noise, but for what the canaries add to the norm.
  assert found.mu == pytest.approx(1 / NOISE, abs=ROOM)
  assert found.epsilon_low <= gdp.epsilon(1 / NOISE, 1e-5)


def test_correlated_noise_stays_below_its_theory():
  participation = toeplitz.Participation.of(ROUNDS, ROUNDS)
  strategy = blt.optimise(participation, 2, restarts=1)
  found = find(dataclasses.replace(FACTORY, stream=correlated_noise.Buffered(strategy)))
  sensitivity = math.sqrt(toeplitz.sensitivity_squared(strategy.coefficients(ROUNDS), participation))
  assert found.epsilon_low <= gdp.epsilon(sensitivity / NOISE, 1e-5)


def test_noise_that_is_off_is_caught():
  assert find(dataclasses.replace(FACTORY, noise_multiplier=0.0)).epsilon_low > 10 * gdp.epsilon(1 / NOISE, 1e-5)


def test_a_clip_that_lets_more_through_is_caught(monkeypatch):
  monkeypatch.setattr(integer_grid, 'room', lambda tensors: 8.0 * integer_grid.STEPS)
  assert find(FACTORY).epsilon_low > gdp.epsilon(1 / NOISE, 1e-5)


def test_noise_that_is_used_again_is_caught(monkeypatch):
  # A function of the tensor alone, whatever the round and whoever takes part.
  original = correlated_noise.nonce
  monkeypatch.setattr(correlated_noise, 'nonce', lambda tensor, draw, round_num: original(tensor, draw, 0 * round_num))
  monkeypatch.setattr(key_binding, 'round_key', lambda key, round_num, totals: key)
  assert find(FACTORY).epsilon_low > 10 * gdp.epsilon(1 / NOISE, 1e-5)


def test_a_whole_run_with_sampling():
  rng = np.random.default_rng(0)
  members = [np.flatnonzero(rng.random(1000) < 0.3) for _ in range(ROUNDS)]
  found = canary.whole_run(FACTORY, lambda number: members[number - 1], population=1000, rounds=ROUNDS, dimension=4000,
                           delta=1e-5, seed=1)
  # Each canary is in 1.2 of four rounds on average; the sum carries twice the noise of one. Beside six deviations, the
  # canaries add 3 % to the norm.
  assert found.mu == pytest.approx(1.2 / (2 * NOISE), abs=6 / math.sqrt(1000) + 0.01)


STEP = example_work.ExampleSgd(clip_norm=0.5, noise_multiplier=NOISE, batch_size=4, epochs=3,
                               sampling='poisson', ghost=True)


def find_in_steps(training=STEP):
  return canary.known_step(training, steps=ROUNDS, canaries=CANARIES, dimension=DIMENSION, delta=1e-5, seed=1)


def test_private_sgd_shows_its_own_noise_and_no_less():
  found = find_in_steps()
  assert found.mu == pytest.approx(1 / NOISE, abs=ROOM)
  assert found.epsilon_low <= gdp.epsilon(1 / NOISE, 1e-5)


@pytest.mark.parametrize('broken', ['noise off', 'sensitivity', 'noise reused'])
def test_broken_private_sgd_is_caught(broken, monkeypatch):
  if broken == 'sensitivity':
    honest = clipped.clipped_sum
    monkeypatch.setattr(clipped, 'clipped_sum', lambda model, loss_fn, x, y, clip, mask, ghost, copies: honest(
        model, loss_fn, x, y, 8 * clip, mask, ghost=ghost, copies=copies))
  if broken == 'noise reused':
    monkeypatch.setattr(os_keys, 'kernel_key', lambda: tf.zeros([8], tf.uint32))
  training = dataclasses.replace(STEP, noise_multiplier=0.0) if broken == 'noise off' else STEP
  assert find_in_steps(training).epsilon_low > gdp.epsilon(1 / NOISE, 1e-5)


@pytest.mark.parametrize('privacy', ['distributed_gaussian', 'distributed_skellam'])
def test_noise_shares_add_up_to_their_theory_and_missing_ones_are_caught(privacy):
  made = plan.build_plan(
      configs.PrivacyConfig(privacy=privacy, clip_norm=1.0, noise_multiplier=NOISE, delta=1e-5),
      configs.CohortConfig(cohort_size=CANARIES // ROUNDS), population=CANARIES // ROUNDS, rounds=ROUNDS, seed=0)
  masks = configs.SecureConfig(secure_sum='masks', secure_bits=14)
  made = dataclasses.replace(made.for_secure_sum(masks), length=DIMENSION)

  def shown(encoding):
    return find(made.aggregator(opened_sum.OpenedSumFactory(encoding)))

  found, theory = shown(made.sum_encoding()), gdp.epsilon(made.turn_mu(), 1e-5)
  assert found.mu == pytest.approx(1 / NOISE, abs=ROOM) and found.epsilon_low <= theory
  thin = dataclasses.replace(made.shares, stddev=made.shares.stddev / 8)
  assert shown(dataclasses.replace(made.sum_encoding(), shares=thin)).epsilon_low > theory
