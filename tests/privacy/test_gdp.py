import math

import dp_accounting
import pytest
from dp_accounting import pld
from hypothesis import given
from hypothesis import strategies as st

from tff_vision.accounting import gdp


@pytest.mark.parametrize('noise, participations, norm_squared, rho, epsilon', [
    (1.411, 3, 0.2, 0.1506840, 3.42401), (8.35, 2, 1.0, 0.0143426, 0.99355)])
def test_the_published_budgets_of_the_gboard_models(noise, participations, norm_squared, rho, epsilon):
  """es-ES and pt-BR of google-research/federated, delta = 1e-10."""
  mu = math.sqrt(participations * norm_squared) / noise
  assert gdp.rho(mu) == pytest.approx(rho, abs=5e-7)
  assert gdp.epsilon(mu, 1e-10) == pytest.approx(epsilon, abs=5e-6)


@pytest.mark.parametrize('noise, delta', [(0.7, 1e-5), (2.0, 1e-6), (8.0, 1e-3)])
def test_equals_the_numerical_accountant(noise, delta):
  accountant = pld.PLDAccountant(value_discretization_interval=1e-4)
  accountant.compose(dp_accounting.GaussianDpEvent(noise))
  assert gdp.epsilon(1 / noise, delta) == pytest.approx(accountant.get_epsilon(delta), abs=2e-4)


@given(st.floats(0.01, 50), st.floats(1e-12, 1e-2))
def test_mu_and_epsilon_are_inverse(epsilon, delta):
  assert gdp.epsilon(gdp.mu(epsilon, delta), delta) == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize(('epsilon', 'delta'), [(1.0, 1e-12), (60.0, 1e-4), (8.0, 1e-5), (3.0, 1e-5)])
@pytest.mark.parametrize('turns', [1, 3, 7])
def test_a_target_is_met_and_not_missed_by_a_rounding(epsilon, delta, turns):
  noise = math.sqrt(turns) / gdp.mu(epsilon, delta)  # As plans compute it, and the cost from it.
  assert gdp.epsilon(math.sqrt(turns) / noise, delta) <= epsilon


def test_the_ends():
  assert gdp.epsilon(0.0, 1e-5) == 0.0
  assert gdp.epsilon(math.inf, 1e-5) == math.inf
  assert gdp.epsilon(1e-7, 1e-5) == 0.0


def test_an_epsilon_too_large_for_its_digits_has_a_delta_between_nothing_and_all():
  for mu in (1e-9, 1.0, 1e9):
    for epsilon in (1e18, 5.5e29, 1e300):
      assert 0 <= gdp.delta(mu, epsilon) <= 1
  assert gdp.delta(2e15, 5.5e29) > 0.999 and gdp.mu(5.5e29, 1e-5) == pytest.approx((2 * 5.5e29) ** 0.5, rel=1e-3)
