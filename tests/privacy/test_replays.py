"""What a round costs that was released more than once: by whoever adds the noise, in every ledger."""

import dataclasses
import itertools
import math

import dp_accounting
import numpy as np
import pytest

from tff_vision import configs
from tff_vision.accounting import accounting, gdp
from tff_vision.privacy import plan
from tff_vision.privacy.matrix import toeplitz

ROUNDS = 12
SEEN = dict.fromkeys(range(1, ROUNDS + 1), 4)
MECHANISMS = {
    'client_gaussian': {}, 'client_adaptive': {'count_stddev': 2.0}, 'dp_ftrl': {'sampling': 'round_robin'},
    'blt': {'privacy': 'dp_mf', 'sampling': 'round_robin'},
    'banded': {'privacy': 'dp_mf', 'mf_strategy': 'banded', 'sampling': 'round_robin'},
    'amplified': {'privacy': 'dp_mf', 'mf_strategy': 'amplified', 'mf_bands': 3},
    'metrics': {'privacy': 'client_gaussian', 'metrics_noise_multiplier': 4.0}}


def build(name):
  options = {'privacy': name, 'noise_multiplier': 2.0, **MECHANISMS[name]}
  sampling = options.pop('sampling', 'poisson')
  return plan.build_plan(configs.PrivacyConfig(clip_norm=1.0, delta=1e-4, **options),
                         configs.CohortConfig(cohort_size=8, sampling=sampling), population=40, rounds=ROUNDS, seed=1)


@pytest.mark.parametrize('name', MECHANISMS)
def test_a_round_begun_after_its_end_is_charged_whoever_adds_the_noise(name, monkeypatch):
  quick = accounting.epsilon_rdp
  monkeypatch.setattr(accounting, 'epsilon_rdp', lambda event, delta: quick(
      event, delta, orders=accounting.QUICK_ORDERS))
  monkeypatch.setattr(accounting, 'tightest', lambda event, delta: (accounting.epsilon_rdp(event, delta), 'RDP'))
  made = build(name)
  unfinished = made.charged(plan.Past(replayed=(3, 3), delivered={1: 4, 2: 4}))
  lost = made.charged(plan.Past(replayed=(3,), repeated=(3,), delivered=SEEN))
  twice = made.charged(plan.Past(replayed=(3, 3), repeated=(3, 3), delivered=SEEN))
  once, more = made.ledger(ROUNDS), lost.ledger(ROUNDS)
  # What was never seen costs nothing where the noise belongs to the total.
  assert unfinished.ledger(ROUNDS) == once and once.replayed_rounds == 0
  assert more.replayed_rounds == 1 and twice.ledger(ROUNDS).replayed_rounds == 2
  assert once.epsilon < more.epsilon < twice.ledger(ROUNDS).epsilon
  assert made.quick_epsilon(ROUNDS) < lost.quick_epsilon(ROUNDS)
  assert more.epsilon <= more.epsilon_rdp * (1 + 1e-9)
  budget = once.epsilon * 1.0001
  assert made.affordable_rounds(ROUNDS, budget) == ROUNDS > lost.affordable_rounds(ROUNDS, budget)
  # Rounds ahead that were released before their checkpoints were lost are paid for already.
  assert made.charged(plan.Past(delivered=SEEN)).ledger(5).epsilon == pytest.approx(once.epsilon, rel=1e-9)


def test_repetitions_over_one_cohort_cost_more_than_cohorts_of_their_own():
  made = build('client_gaussian').charged(plan.Past(repeated=(2, 2, 5), delivered=SEEN))
  sampled = lambda noise, count: dp_accounting.SelfComposedDpEvent(
      dp_accounting.PoissonSampledDpEvent(0.2, dp_accounting.GaussianDpEvent(noise)), count)
  event = dp_accounting.ComposedDpEvent([sampled(2.0, 10), sampled(2 / math.sqrt(2), 1), sampled(2 / math.sqrt(3), 1)])
  found = made.ledger(ROUNDS)
  assert found.epsilon_rdp == pytest.approx(accounting.epsilon_rdp(event, 1e-4), rel=1e-9)
  assert found.epsilon > accounting.epsilon_pld(sampled(2.0, ROUNDS + 3), 1e-4)


@pytest.mark.parametrize('name', ['blt', 'banded'])
def test_the_bound_on_correlated_rows_holds_for_every_pattern(name):
  made = build(name)
  matrix = toeplitz.matrix(np.array(made.coefficients), ROUNDS)
  rng = np.random.default_rng(2)
  assert made.sampler.min_separation == 5
  turns = [pattern for size in (1, 2, 3) for pattern in itertools.combinations(range(ROUNDS), size)
           if all(b - a >= 5 for a, b in itertools.pairwise(pattern))]
  for _ in range(5):
    repeated = tuple(int(number) for number in rng.integers(1, ROUNDS + 1, 4))
    charged = made.charged(plan.Past(repeated=repeated, delivered=SEEN))
    times = np.array([charged.past.released(ROUNDS)[number] for number in range(1, ROUNDS + 1)])
    worst = max((times * matrix[:, pattern].sum(1) ** 2).sum() for pattern in turns)
    assert math.sqrt(worst) / 2.0 <= charged.mu(ROUNDS) <= math.sqrt(times.max()) * made.mu(ROUNDS) + 1e-12
    assert charged.ledger(ROUNDS).epsilon == pytest.approx(gdp.epsilon(charged.mu(ROUNDS), 1e-4))


def test_a_secure_sum_says_what_rounding_adds():
  made = build('client_gaussian')
  assert made.ledger(1).rounding_adds_to_sensitivity is None
  hidden = made.for_secure_sum(configs.SecureConfig(secure_sum='masks'))
  added = dataclasses.replace(hidden, length=1_000_000).ledger(1).rounding_adds_to_sensitivity
  assert 1000 / 2 ** 20 < added < 1.1 * 1000 / 2 ** 20
