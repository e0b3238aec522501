"""What an approval says that begun rounds cost, where a coordinator chooses the cohorts, or rounds begin again."""

import dataclasses
import math

import dp_accounting
import pytest
from dp_accounting import pld

from tests.federation import guarded
from tff_vision import configs, wording
from tff_vision.accounting import gdp
from tff_vision.federation import approval, approved_costs, rehearsal, words
from tff_vision.privacy import plan as plan_lib
from tff_vision.runtime.worker.guard import audit, enforcement, recording, rules

ROUNDS = 6


def approved(privacy, tmp_path, *, spare_rounds, cohort_size=3, sampling='fixed', **sections):
  """Returns north's approval, and in how many of the plan's rounds its client takes part."""
  config = configs.PrivacyConfig(clip_norm=1.0, delta=1e-3, **privacy)
  cohort = configs.CohortConfig(cohort_size=cohort_size, sampling=sampling)
  plan = guarded.plan('/data', rounds=ROUNDS, privacy=config, cohort=cohort,
                      client=configs.ClientConfig(batch_size=4, client_epochs=1), **sections)
  cost = plan_lib.build_plan(config, cohort, population=3, rounds=ROUNDS, seed=plan.experiment().program.seed,
                             sizes=guarded.EXAMPLES, client=plan.experiment().client)
  if 'secure' in sections:
    task = guarded.tiny.task(sizes=guarded.EXAMPLES)
    cost = cost.for_secure_sum(sections['secure']).for_model(task.keras_model(), task.batch_spec[0])
  rehearsed = rehearsal.Rehearsal(sites=[recording.Recording() for _ in guarded.SITES], privacy=cost)
  turns = sum(0 in cost.cohort(number) for number in range(1, ROUNDS + 1))
  found = approval.of(plan, 'north', rehearsed, spare_rounds=spare_rounds, days=1,
                      certificates=guarded.certificates(tmp_path))
  return found, turns, approved_costs.rounds_here(plan, 0, rehearsed)


@pytest.mark.parametrize('cohort_size', [1, 2, 3])
def test_a_coordinator_that_chooses_a_site_in_every_round_that_may_begin_does_not_spend_more_than_is_stated(
    cohort_size, tmp_path):
  """7 examples in batches of 4: two steps a turn, each with an example at rate 4 / 7."""
  found, turns, here = approved({'privacy': 'example_dp_sgd', 'noise_multiplier': 2.0}, tmp_path, spare_rounds=4,
                                cohort_size=cohort_size)
  assert here == turns <= ROUNDS and (turns == ROUNDS) == (cohort_size == 3)
  rounds, epsilon = found.epsilon[-1]
  accountant = pld.PLDAccountant().compose(dp_accounting.PoissonSampledDpEvent(
      4 / 7, dp_accounting.GaussianDpEvent(2.0)), 2 * (turns + 4))
  exact = accountant.get_epsilon(1e-3)  # The approval has the larger one of Renyi accounting.
  assert rounds == turns + 4 and exact <= epsilon < 1.2 * exact
  assert [number for number, _ in found.epsilon] == sorted({max(1, turns // 4), max(1, turns // 2), turns, turns + 4})


def test_local_noise_is_paid_for_each_turn_that_may_be_taken(tmp_path):
  found, turns, _ = approved({'privacy': 'local_dp', 'noise_multiplier': 9.0}, tmp_path, spare_rounds=3, cohort_size=1)
  assert found.epsilon[-1] == (turns + 3, pytest.approx(gdp.epsilon(2 * math.sqrt(turns + 3) / 9, 1e-3)))


def test_shares_of_noise_are_those_of_the_smallest_sum_that_is_opened(tmp_path):
  """Shares sized for two clients, of whom three deliver as planned: a sum of two has less noise."""
  secure = configs.SecureConfig(secure_sum='masks', secure_bits=22)
  found, turns, _ = approved({'privacy': 'distributed_gaussian', 'noise_multiplier': 3.0, 'noise_survivors': 2},
                             tmp_path, spare_rounds=0, secure=secure)
  assert turns == ROUNDS and found.fewest_clients == 2
  # The Gaussian of this noise, without what rounding costs: a lower bound.
  assert found.epsilon[-1][1] > gdp.epsilon(math.sqrt(ROUNDS) / 3, 1e-3)
  assert gdp.epsilon(math.sqrt(ROUNDS * 2 / 3) / 3, 1e-3) < 0.9 * gdp.epsilon(math.sqrt(ROUNDS) / 3, 1e-3)


@pytest.mark.parametrize('privacy', [{'privacy': 'dp_ftrl'}, {'privacy': 'dp_mf'},
                                     {'privacy': 'dp_mf', 'mf_strategy': 'amplified', 'mf_bands': 1}])
def test_rounds_that_begin_again_do_not_stop_the_approval_of_noise_for_so_many_rounds(privacy, tmp_path):
  amplified = 'mf_bands' in privacy
  (found, _, here), (without, *_) = (approved(
      privacy | {'noise_multiplier': 5.0}, tmp_path, spare_rounds=spare, cohort_size=2 if amplified else 3,
      sampling='poisson' if amplified else 'round_robin') for spare in (3, 0))
  assert here == ROUNDS and found.epsilon[-1][0] == ROUNDS + 3
  whole, once = found.epsilon[-1][1], without.epsilon[-1][1]
  assert once < whole < float('inf')
  if privacy['privacy'] == 'dp_ftrl':  # One tree of a single level a round: six turns; one of them four times at most.
    assert once == pytest.approx(gdp.epsilon(math.sqrt(6) / 5, 1e-3))
    assert gdp.epsilon(math.sqrt(6 + 3) / 5, 1e-3) <= whole <= gdp.epsilon(2 * math.sqrt(6) / 5, 1e-3) * (1 + 1e-9)


def test_numbers_of_images_are_approved_where_a_secure_sum_depends_on_them(tmp_path):
  """What clients encode depends on them, as a worker says before it starts; later only digests would differ."""
  made = lambda examples, **sections: approval.of(
      guarded.plan('/data', **sections), 'south', rehearsal.Rehearsal(
          sites=[recording.Recording() for _ in guarded.SITES], privacy=None, examples=examples),
      spare_rounds=0, days=1, certificates=guarded.certificates(tmp_path))
  assert made(guarded.EXAMPLES, **guarded.MASKS).examples == guarded.EXAMPLES[1:2]
  assert made(()).examples == ()
  watch = enforcement.Enforcement(made(()).rules(), audit.Log(tmp_path / 'log', made(()).rules().digest))
  with pytest.raises(rules.Refused, match='differ, or the numbers of training images are others than the examples'):
    watch.computation('0' * 64)


def test_what_evaluations_cost_held_out_examples_is_said_beside_training(tmp_path):
  private = {'privacy': 'example_dp_sgd', 'noise_multiplier': 2.0, 'evaluation_noise_multiplier': 3.0}
  found, *_ = approved(private, tmp_path, spare_rounds=0)
  plan = guarded.plan('/data', privacy=configs.PrivacyConfig(clip_norm=1.0, delta=1e-3, **private))
  times = [rules.Activity(name=name, orders=(), most=most) for name, most in (
      (rehearsal.ROUND, 40), (rehearsal.VALIDATION, 8), (rehearsal.TEST, 3))]
  said, = words._held_out(plan, dataclasses.replace(found, activities=tuple(times)), 1e-3)
  assert f'epsilon at most {wording.at_most(gdp.epsilon(8**0.5 / 3, 1e-3))} at delta 0.001 after 8 eval' in said
  assert not list(words._held_out(guarded.plan('/data', **guarded.EXAMPLE_DP), found, 1e-3))
