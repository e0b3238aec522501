"""Composition of several runs against dp_accounting's own of the joint event and closed forms; what is written down."""

import json
import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting import dp_event, pld, rdp

from tff_vision.accounting import cohort_sizes, events, gdp, privacy_losses

DELTA = 1e-5


def sampled(rate, noise, rounds):
  return dp_accounting.SelfComposedDpEvent(
      dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise)), rounds)


def epsilon(*events):
  return privacy_losses.Composition([privacy_losses.Loss(event=event) for event in events]).epsilon(DELTA)


def test_two_runs_cost_what_their_joint_event_does():
  one, other = sampled(0.05, 2.0, 60), sampled(0.02, 1.5, 40)
  joint = pld.PLDAccountant().compose(dp_accounting.ComposedDpEvent([one, other])).get_epsilon(DELTA)
  assert epsilon(one, other) == pytest.approx(joint, rel=1e-6)
  assert epsilon(one, one) == pytest.approx(epsilon(sampled(0.05, 2.0, 120)), rel=1e-3)
  # Adding up would have been much more, at twice the delta besides.
  assert joint < 0.8 * (epsilon(one) + epsilon(other))


def test_gaussian_runs_are_composed_in_closed_form():
  often = dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(5.0), 7)
  events = [dp_accounting.GaussianDpEvent(2.0), often, dp_accounting.NoOpDpEvent()]
  assert epsilon(*events) == gdp.epsilon(math.sqrt(1 / 4 + 7 / 25), DELTA)
  assert epsilon(dp_accounting.GaussianDpEvent(0.0)) == math.inf == epsilon(sampled(0.1, 0.0, 3))
  assert epsilon() == 0.0


def test_what_has_no_distribution_is_composed_by_divergences_or_beside_the_rest():
  orders = np.array(privacy_losses.ORDERS)
  of_mu = lambda mu: privacy_losses.Loss(divergences=tuple(orders * mu * mu / 2))
  both = privacy_losses.Composition([of_mu(0.1), privacy_losses.Loss(event=sampled(0.05, 1.1, 60))]).epsilon(DELTA)
  exact = epsilon(dp_accounting.GaussianDpEvent(10.0), sampled(0.05, 1.1, 60))
  alone = pld.PLDAccountant().compose(sampled(0.05, 1.1, 60)).get_epsilon(DELTA)
  by_renyi = rdp.compute_epsilon(orders, orders * 0.01 / 2 + privacy_losses.Loss(event=sampled(0.05, 1.1, 60)).renyi,
                                 DELTA)[0]
  assert max(exact, alone) < both <= by_renyi
  assert privacy_losses.Composition([of_mu(0.3), of_mu(0.4)]).epsilon(DELTA) == pytest.approx(
      rdp.compute_epsilon(orders, orders * 0.25 / 2, DELTA)[0])


def test_an_example_of_a_client_pays_for_two_steps():
  """Gaussian: the second step may be no dearer than knowing that the client's update moves by two clips."""
  client = privacy_losses.Composition([privacy_losses.Loss(event=dp_accounting.GaussianDpEvent(4.0))])
  found = privacy_losses.example_epsilon(client, client, DELTA)
  assert client.epsilon(DELTA) < gdp.epsilon(2 / 4.0, DELTA) <= found < 2.5 * client.epsilon(DELTA)
  nothing = privacy_losses.Composition([])
  assert privacy_losses.example_epsilon(client, nothing, DELTA) == client.epsilon(DELTA)
  # Runs for examples are paid in one step alone.
  mixed = privacy_losses.Composition([privacy_losses.Loss(event=dp_accounting.GaussianDpEvent(4.0)),
                                      privacy_losses.Loss(event=dp_accounting.GaussianDpEvent(3.0))])
  assert found < privacy_losses.example_epsilon(mixed, client, DELTA) < privacy_losses.example_epsilon(mixed, mixed,
                                                                                                       DELTA)
  assert privacy_losses.example_epsilon(mixed, client, DELTA) <= privacy_losses.example_epsilon(mixed, client, DELTA,
                                                                                                quick=True)


def test_losses_come_back_as_they_were_written():
  several = dp_accounting.ComposedDpEvent([sampled(0.5, 2.0, 1), dp_accounting.GaussianDpEvent(3)])
  for loss in (privacy_losses.Loss(event=sampled(1 / 3, 1.1, 60)),
               privacy_losses.Loss(event=dp_accounting.NoOpDpEvent()),
               privacy_losses.Loss(event=several),
               privacy_losses.Loss(event=dp_event.RepeatAndSelectDpEvent(sampled(0.1, 3.0, 2), 5.0, 1.0)),
               privacy_losses.Loss(divergences=tuple(np.array(privacy_losses.ORDERS) / 3))):
    assert privacy_losses.Loss.from_json(json.loads(json.dumps(loss.to_json()))) == loss
  for content in ({'renyi': [1.0]}, {'event': {'type': 'os'}}, {'event': {'type': 'GaussianDpEvent'}}, {}):
    with pytest.raises((ValueError, KeyError)):
      privacy_losses.Loss.from_json(content)


def test_the_best_of_a_random_number_of_runs_costs_what_repeat_and_select_does():
  event = sampled(0.02, 2.0, 100)
  spent = privacy_losses.Spent(unit='client', kinds=(privacy_losses.Loss(event=event),))
  for mean in (1.0, 3.0, 20.0):
    accountant = rdp.RdpAccountant(privacy_losses.ORDERS).compose(dp_event.RepeatAndSelectDpEvent(event, mean, 1.0))
    found = privacy_losses.best_of_random_runs([spent, spent], mean)
    np.testing.assert_allclose(found.kinds[0].renyi, accountant.rdp)
    # Of 20 runs it is far below what all of them cost.
    if mean == 20:
      chosen = privacy_losses.Composition(found.kinds).epsilon(DELTA)
      assert epsilon(event) < chosen < 0.7 * epsilon(sampled(0.02, 2.0, 2000))
  dearer = privacy_losses.Spent(unit='client', kinds=(privacy_losses.Loss(event=sampled(0.02, 1.0, 100)),))
  assert np.all(privacy_losses.best_of_random_runs([spent, dearer], 3.0).kinds[0].renyi
                == privacy_losses.best_of_random_runs([dearer], 3.0).kinds[0].renyi)


def test_the_largest_of_different_clients_bounds_each():
  kinds = (privacy_losses.Loss(event=sampled(0.3, 1.0, 10)), privacy_losses.Loss(event=sampled(0.03, 1.0, 900)))
  spent = privacy_losses.Spent(unit='example', kinds=kinds, kind_of=(0, 1, 0))
  for kind in kinds:
    assert np.all(spent.largest.renyi >= kind.renyi)


def test_events_of_our_own_are_written_down_and_composed():
  truncated = events.TruncatedPoissonGaussianDpEvent(0.1, 2.0, cohort_sizes.Sizes(least=2, most=40), 99, 100)
  allocated = events.AllocatedGaussianDpEvent(10, 2.0)
  for event in truncated, allocated:
    loss = privacy_losses.Loss(event=dp_event.SelfComposedDpEvent(event, 5))
    assert privacy_losses.Loss.from_json(json.loads(json.dumps(loss.to_json()))) == loss and loss.has_distribution
    once, twice = (privacy_losses.Composition([loss] * count).epsilon(DELTA) for count in (1, 2))
    together = privacy_losses.Composition([privacy_losses.Loss(event=dp_event.SelfComposedDpEvent(event,
                                                                                                  10))]).epsilon(DELTA)
    assert once < twice < 2 * once and twice == pytest.approx(together, rel=1e-3)
