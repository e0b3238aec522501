"""Honest mechanisms stay below their theory; broken ones are caught."""

import dataclasses
import math

import numpy as np
import pytest

from tff_vision.privacy import gdp, grid, noised_mean, streams
from tff_vision.privacy.audit import canary
from tff_vision.privacy.matrix import blt, toeplitz

pytestmark = pytest.mark.usefixtures('tff_runtime')
ROUNDS, NOISE = 4, 2.0
FACTORY = noised_mean.NoisedMeanFactory(clip_norm=1.0, noise_multiplier=NOISE, denominator=5.0)


def find(factory):
  return canary.known_round(factory, rounds=ROUNDS, canaries=80, dimension=4000, delta=1e-5, seed=1)


def test_an_honest_mechanism_shows_its_own_noise_and_no_less():
  found = find(FACTORY)
  # 20 loud canaries a round, each clipped to 1: a shift of 1 / noise, but for what the canaries add to the norm.
  assert found.mu == pytest.approx(1 / NOISE, abs=4 / math.sqrt(80))
  assert found.epsilon_low <= gdp.epsilon(1 / NOISE, 1e-5)


def test_correlated_noise_stays_below_its_theory():
  participation = toeplitz.Participation.of(ROUNDS, ROUNDS)
  strategy = blt.optimise(participation, 2, restarts=1)
  found = find(dataclasses.replace(FACTORY, stream=streams.Buffered(strategy)))
  sensitivity = math.sqrt(toeplitz.sensitivity_squared(strategy.coefficients(ROUNDS), participation))
  assert found.epsilon_low <= gdp.epsilon(sensitivity / NOISE, 1e-5)


def test_noise_that_is_off_is_caught():
  assert find(dataclasses.replace(FACTORY, noise_multiplier=0.0)).epsilon_low > 10 * gdp.epsilon(1 / NOISE, 1e-5)


def test_a_clip_that_lets_more_through_is_caught(monkeypatch):
  monkeypatch.setattr(grid, 'room', lambda tensors: 8.0 * grid.STEPS)
  assert find(FACTORY).epsilon_low > gdp.epsilon(1 / NOISE, 1e-5)


def test_noise_that_is_used_again_is_caught(monkeypatch):
  original = streams.nonce
  monkeypatch.setattr(streams, 'nonce', lambda tensor, draw, round_num: original(tensor, draw, 0 * round_num))
  assert find(FACTORY).epsilon_low > 10 * gdp.epsilon(1 / NOISE, 1e-5)


def test_a_whole_run_with_sampling():
  rng = np.random.default_rng(0)
  members = [np.flatnonzero(rng.random(60) < 0.3) for _ in range(ROUNDS)]
  found = canary.whole_run(FACTORY, lambda number: members[number - 1], population=60, rounds=ROUNDS, dimension=4000,
                           delta=1e-5, seed=1)
  # Each canary is in 1.2 of four rounds on average; the sum carries twice the noise of one.
  assert found.mu == pytest.approx(1.2 / (2 * NOISE), abs=4 / math.sqrt(60))
