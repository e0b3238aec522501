"""Hospitals that join and leave under example-level privacy: cohorts follow, and each pays for its own rounds only."""

import dp_accounting
import pytest

from tff_vision import configs
from tff_vision.accounting import gdp
from tff_vision.aggregation import secured
from tff_vision.privacy import plan

NOISE, DELTA, BATCH, SIZES, ROUNDS = 1.3, 1e-3, 10, (40, 20, 30), 10
COAST, METRO, NORTH = range(3)


@pytest.fixture
def trace(tmp_path):
  """Coast takes part in rounds 1 to 5, metro in 4 to 10, north in all."""
  path = tmp_path / 'members.csv'
  path.write_text('client,join,leave\n0,1,6\n1,4,\n')
  return str(path)


def build(trace, privacy='example_dp_sgd', **given):
  sampling = 'fixed' if privacy == 'example_dp_sgd' else 'poisson'
  example = {'example_sampling': given.pop('example_sampling')} if 'example_sampling' in given else {}
  return plan.build_plan(
      configs.PrivacyConfig(privacy=privacy, clip_norm=1.0, delta=DELTA, **{'noise_multiplier': NOISE, **example}),
      configs.CohortConfig(sampling=sampling, cohort_size=3, availability_trace=trace, **given), population=3,
      rounds=ROUNDS, seed=0, sizes=SIZES, client=configs.ClientConfig(batch_size=BATCH, client_epochs=2))


def test_cohorts_follow_the_schedule(trace):
  made = build(trace)
  cohorts = [made.cohort(number).tolist() for number in range(1, ROUNDS + 1)]
  assert cohorts == [[0, 2]] * 3 + [[0, 1, 2]] * 2 + [[1, 2]] * 5


def test_each_hospital_pays_for_the_rounds_it_took_part_in(trace):
  ledger = build(trace).final_ledger(ROUNDS)
  assert [one.rounds for one in ledger.per_client] == [5, 7, 10]
  for one, size, rounds in zip(ledger.per_client, SIZES, (5, 7, 10), strict=True):
    accountant = dp_accounting.pld.PLDAccountant()
    steps = rounds * 2 * -(-size // BATCH)  # Two epochs a round.
    accountant.compose(dp_accounting.PoissonSampledDpEvent(BATCH / size, dp_accounting.GaussianDpEvent(NOISE)), steps)
    assert one.epsilon == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-3)
  assert ledger.epsilon == max(one.epsilon for one in ledger.per_client)


def test_without_sampling_the_arithmetic_is_by_hand(trace):
  # Shuffled passes touch every example once: r rounds of 2 epochs are one Gaussian of mu = sqrt(2 r) / noise.
  ledger = build(trace, example_sampling='shuffled').final_ledger(ROUNDS)
  for one, rounds in zip(ledger.per_client, (5, 7, 10), strict=True):
    assert one.epsilon == pytest.approx(gdp.epsilon((2 * rounds) ** 0.5 / NOISE, DELTA), rel=2e-3)


def test_one_that_left_pays_no_more_and_one_that_has_not_come_pays_nothing(trace):
  made = build(trace, example_sampling='shuffled')
  spent = {rounds: [one.epsilon for one in made.final_ledger(rounds).per_client] for rounds in (3, 5, 9)}
  assert spent[3][METRO] == 0.0 < spent[5][METRO]
  assert spent[5][COAST] == spent[9][COAST] and spent[5][NORTH] < spent[9][NORTH]


def test_encryption_follows_the_cohort_and_never_hides_one_alone(trace, tmp_path):
  secure = configs.SecureConfig(secure_sum='he_keyholder', key_holder_dir=str(tmp_path / 'keys'))
  check = lambda made: secured.check_run(secure, made, rounds=ROUNDS, run_dir=tmp_path / 'run')
  check(build(trace))
  alone = tmp_path / 'alone.csv'
  alone.write_text('client,join,leave\n0,1,6\n1,9,\n')
  with pytest.raises(ValueError, match='round 6 has one client'):
    check(build(str(alone)))


def test_what_is_no_schedule_and_other_mechanisms_are_refused(trace):
  with pytest.raises(ValueError, match='dropout_after=0.5'):
    build(trace, dropout_after=0.5)
  with pytest.raises(ValueError, match='availability_trace'):
    build(trace, privacy='client_gaussian')
